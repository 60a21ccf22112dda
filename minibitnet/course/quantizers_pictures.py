"""The pictures of notebook 01: where codes come from, what they lose, and what they can carry."""
import math

import numpy as np

from ..drawing import CODES, sign
from ..measure.plotting import new_figure
from ..quant import absmax_int8, absmean_ternary


def three_matrices(w):
    """A small matrix, the same in units of its scale, and its codes. Framed: what rounding alone would have
    left outside of -1 ... +1."""
    codes, scale = absmean_ternary(w)
    in_units = w / scale
    figure, panels = new_figure(panels=3, size=(3.1, 2.2))
    for axes, values, title in ((panels[0], w, "W"), (panels[1], in_units, f"W / γ,  γ = {scale.item():g}"),
                                (panels[2], codes, "codes")):
        axes.imshow(np.clip(values, -1, 1), **CODES)
        for (i, j), value in np.ndenumerate(values):
            text = sign(int(value)) if axes is panels[2] else f"{value:g}"
            axes.text(j, i, text.replace("-", "−"), ha="center", va="center", fontsize=9,
                      color="white" if abs(value) > 0.7 else "black")
            if axes is not panels[0] and abs(np.rint(in_units[i, j])) > 1:
                axes.plot([j - .46, j + .46, j + .46, j - .46, j - .46],
                          [i - .46, i - .46, i + .46, i + .46, i - .46], color="black", linewidth=2)
        axes.set_title(title, fontsize=11)
        axes.set(xticks=[], yticks=[], xlabel="input")
    panels[0].set_ylabel("output")
    return figure


def thresholds(w):
    """The histogram of weights in units of gamma, cut at the two thresholds."""
    places = w.ravel() / absmean_ternary(w).scale.item()
    figure, [axes] = new_figure(size=(6.6, 3.6))
    edges = np.linspace(-4, 4, 161)
    density = np.histogram(places, edges)[0] / places.size / (edges[1] - edges[0])
    areas = (-1, -4, -0.5, "0.55", "//"), (0, -0.5, 0.5, "0.93", ""), (1, 0.5, 4, "0.75", "\\\\")
    for code, low, high, grey, hatch in areas:
        here = (edges[:-1] >= low - 1e-9) & (edges[1:] <= high + 1e-9)
        axes.stairs(density[here], np.append(edges[:-1][here], high), fill=True, facecolor=grey, hatch=hatch,
                    edgecolor="0.25", linewidth=0)
        share = np.mean(np.clip(np.rint(places), -1, 1) == code)
        axes.text(1.28 * code, 0.09, f"code {sign(code)}\n{share:.1%}".replace("-", "−"), ha="center",
                  va="center", fontsize=10, bbox={"facecolor": "white", "edgecolor": "none", "pad": 2})
    axes.stairs(density, edges, color="black", linewidth=1)
    for threshold in (-0.5, 0.5):
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
    axes.set(xlabel="weight, in units of γ = mean |W|", ylabel="density", xlim=(-4, 4), ylim=(0, 0.36))
    return figure


def error_by_threshold(w):
    """What three levels lose of a matrix, by the threshold between 0 and the others, for two scales."""
    a = np.sort(np.abs(w).ravel())[::-1]
    sums, gamma, energy = np.cumsum(a), a.mean(), (a * a).sum()
    thresholds = np.linspace(0.2, 1.2, 101)
    kept = np.searchsorted(-a, -thresholds * gamma)                # so many are above
    with_gamma = (energy - 2 * gamma * sums[kept - 1] + gamma**2 * kept) / energy
    with_best = 1 - sums[kept - 1] ** 2 / kept / energy
    least, here = with_best.argmin(), np.abs(thresholds - 0.5).argmin()
    figure, [axes] = new_figure(size=(6.6, 3.6))
    axes.plot(thresholds, with_gamma, color="0.5", linestyle="--", label="three levels, the scale is γ")
    axes.plot(thresholds, with_best, color="black", label="three levels, the best scale for the codes")
    axes.axhline(1 - sums[-1] ** 2 / a.size / energy, color="black", linestyle=":",
                 label="two levels, −γ and +γ")
    for x, y, marker, text, at in ((0.5, with_gamma[here], "s", "absmean", (8, 9)),
                                   (thresholds[least], with_best[least], "o", "the least error", (-34, -17))):
        axes.plot([x], [y], marker=marker, color="black", markersize=7)
        axes.annotate(text, (x, y), at, textcoords="offset points", fontsize=10)
    axes.annotate("", (0.5, with_best[here] + 0.004), (0.5, with_gamma[here] - 0.008),
                  arrowprops={"arrowstyle": "->", "linewidth": 1.2})
    axes.set(xlabel="threshold between 0 and ±1, in units of γ", ylabel="squared error / sum of squares",
             ylim=(0.1, 0.48))
    axes.legend(fontsize=8.5, loc="upper center", ncols=2, frameon=False)
    axes.grid(alpha=0.3)
    return figure


def one_loud_token(x):
    """Codes of tokens, of which one is loud: with a scale for each, and with one for all."""
    figure, panels = new_figure(panels=2, size=(4.3, 3.8))
    for axes, axis, title in ((panels[0], 0, "a scale for each token"),
                              (panels[1], None, "one scale for all tokens")):
        image = axes.imshow(absmax_int8(x, axis).codes, cmap="PuOr", vmin=-127, vmax=127,
                            interpolation="nearest", aspect="auto")
        axes.set(title=title, xlabel="token", ylabel="feature" if axis == 0 else "")
    figure.colorbar(image, ax=panels, label="code", ticks=[-127, 0, 127])
    return figure


def staircases(largest=(1, 3, 7)):
    """Values that codes up to Q_b can stand for, over what they stand for; below, the difference."""
    figure, panels = new_figure(panels=len(largest), size=(3.1, 3.1))
    x = np.linspace(-1, 1, 1201)
    for axes, Q_b in zip(panels, largest):
        value = np.rint(x * Q_b) / Q_b
        axes.plot(x, x, color="0.6", linestyle="--", linewidth=1.2, label="x itself")
        axes.plot(x, value, color="black", linewidth=1.6, label="code · scale")
        axes.fill_between(x, -1.6, -1.6 + np.abs(value - x), color="0.6", label="|difference|")
        axes.set(title=f"codes from −{Q_b} to {Q_b}", xlabel="x / largest |x|", xticks=[-1, 0, 1],
                 yticks=[-1, 0, 1], ylim=(-1.65, 1.1))
    panels[0].legend(fontsize=8, loc="upper left", frameon=False)
    panels[0].set_ylabel("value / largest |x|")
    return figure


def what_three_symbols_carry(points):
    """Bits a code, by the share of zeros, where -1 and +1 are equally frequent. points: {name: share}."""
    def bits(zeros):
        rest = (1 - zeros) / 2
        return -zeros * np.log2(zeros) - 2 * rest * np.log2(rest)
    zeros = np.linspace(0.001, 0.999, 999)
    figure, [axes] = new_figure(size=(6.6, 3.6))
    axes.plot(zeros, bits(zeros), color="black")
    axes.axhline(math.log2(3), color="black", linestyle="--", linewidth=1)
    axes.text(0.99, math.log2(3) + 0.02, f"log₂ 3 = {math.log2(3):.4f}, the most", ha="right", va="bottom")
    for (name, share), marker in zip(points.items(), "osD^v"):
        axes.plot([share], [bits(share)], marker=marker, color="black", linestyle="none", markersize=7,
                  fillstyle="none", label=f"{name}: {share:.1%}")
    axes.set(xlabel="share of zeros", ylabel="bits for each code", xlim=(0, 1), ylim=(0, 1.75))
    axes.legend(loc="lower left", bbox_to_anchor=(0.06, 0.02), fontsize=9, title="zeros")
    axes.grid(alpha=0.3)
    return figure
