"""The pictures of notebook 08: places of bits, staircases, errors, types, and where two engines part."""
import numpy as np

from ..exact import LN2, exp
from ..inference.fixed_point import divide, exp2_minus, shift
from ..measure.plotting import new_figure


def places_of_bits(byte=0b00101100, f=4):
    """Eight bits, read with f of them after the point and with none."""
    figure, panels = new_figure(panels=2, size=(4.2, 2.1))
    for axes, after in zip(panels, (f, 0)):
        axes.set(xlim=(-0.3, 8.3), ylim=(-0.9, 2.2))
        axes.set_axis_off()
        for bit in range(8):
            x, on = 7 - bit, byte >> bit & 1
            axes.fill([x, x + 1, x + 1, x], [0, 0, 1, 1], facecolor="0.75" if on else "white",
                      edgecolor="black", linewidth=0.8)
            axes.text(x + 0.5, 0.5, f"{on}", ha="center", va="center", fontsize=13)
            place = 2.0 ** (bit - after)
            label = f"{place:g}" if place >= 1 else f"1/{1 / place:g}"
            axes.text(x + 0.5, 1.15, label, ha="center", fontsize=9)
        if after:
            axes.plot([8 - after, 8 - after], [-0.15, 1.6], color="black", linewidth=2.5)
        axes.text(4, -0.65, f"{byte * 2.0**-after:g}", ha="center", fontsize=13)
        axes.set_title(f"X = {byte}, f = {after}: X / {1 << after}", fontsize=10)
    return figure


def staircases():
    """x / 2 by a floor, with halves up, and with halves to even."""
    figure, panels = new_figure(panels=3, size=(2.9, 3.2))
    x = np.arange(-7, 8)
    for axes, title, y in ((panels[0], "x >> 1: floor", x >> 1),
                           (panels[1], "shift(x, 1): halves up", shift(x, 1)),
                           (panels[2], "divide(x, 2): to even", divide(x, np.int64(2)))):
        axes.plot(x, x / 2, color="0.6", linewidth=1)
        odd = x % 2 != 0
        axes.plot(x[~odd], y[~odd], color="black", marker=".", linestyle="none", markersize=9)
        axes.plot(x[odd], y[odd], color="black", marker="o", linestyle="none", markersize=7, fillstyle="none")
        for i in np.flatnonzero(odd):
            axes.plot([x[i], x[i]], [x[i] / 2, y[i]], color="black", linewidth=1)
        axes.set(title=title, xlabel="x", yticks=range(-4, 5))
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("result (line: x / 2)")
    return figure


def error_of_exp2():
    """How far the table with a straight line is from 2^-d."""
    figure, panels = new_figure(panels=2, size=(4.3, 3.2))

    def error(d):
        return exp2_minus(d) - exp(d * (-LN2 / 65536)) * 2**24
    near = np.arange(8 << 8)
    panels[0].plot(near / 65536, error(near), color="black", linewidth=0.8)
    panels[0].set(title="the first 8 steps of the table", xlabel="d (octaves)", ylabel="error (2$^{-24}$)")
    ends = np.arange(0, 26 << 16, 1 << 12)
    largest = [np.abs(error(np.arange(d, d + (1 << 12)))).max() for d in ends]
    panels[1].plot(ends / 65536, largest, color="black", linewidth=0.8)
    panels[1].set(title="largest error in 1/16 octave", xlabel="d (octaves)", yscale="log",
                  ylabel="|error| (2$^{-24}$)")
    for axes in panels:
        axes.title.set_fontsize(10)
        axes.grid(alpha=0.3)
    return figure


# what a number is, its type's bits, the bits that its range needs at most (with the sign), by integer.py
STATIONS = (("residual stream x", 32, 29), ("x in a norm", 32, 25), ("sum of squares S", 64, 63),
            ("activation codes", 8, 8), ("W~ x~ (m = 352)", 32, 17), ("times multiplier", 64, 54),
            ("q, k, v, gate, up", 32, 29), ("keys, values: codes", 8, 8), ("scores", 64, 59),
            ("softmax weights", 32, 26), ("sum of weights x values", 64, 62), ("act x up", 64, 60),
            ("logits", 32, 29))


def stations():
    """One token on its way: which type each number has, and how many of its bits are proven to be needed."""
    figure, [axes] = new_figure(size=(8, 4.6))
    for i, (name, bits, needed) in enumerate(STATIONS):
        axes.barh(i, bits, color="white", edgecolor="black", linewidth=0.8, hatch="////", height=0.72)
        axes.barh(i, needed, color="0.35", edgecolor="black", linewidth=0.8, height=0.72)
        axes.text(bits + 0.8, i, f"int{bits}, {bits - needed} to spare", va="center", fontsize=9)
    axes.set_yticks(range(len(STATIONS)), [name for name, _, _ in STATIONS])
    axes.set(xlabel="bits, with the sign (dark: what the largest possible value needs; hatched: headroom)",
             xlim=(0, 81), ylim=(len(STATIONS) - 0.4, -1.6))
    axes.set_xticks([0, 8, 16, 32, 64])
    axes.axhline(-0.7, color="black", linewidth=1.5, linestyle="--")
    axes.text(0.5, -1.15, "above this line, once: the floats of the file become integers",
              va="center", fontsize=9)
    return figure


def margins(margin, difference, same):
    """For each token: the reference's margin between its two best, and how far the engines' losses are
    apart."""
    figure, [axes] = new_figure(size=(6.4, 3.6))
    margin = np.maximum(margin, 1e-4)
    axes.plot(margin[same], difference[same], color="0.6", marker=".", markersize=3, linestyle="none",
              label=f"same likeliest token ({np.count_nonzero(same):,})")
    axes.plot(margin[~same], difference[~same], color="black", marker="x", markersize=7, linestyle="none",
              label=f"another one ({np.count_nonzero(~same):,})")
    axes.axvline(0.1, color="black", linestyle="--", linewidth=1, label="a margin of 0.1")
    axes.set(xscale="log", xlabel="margin between the two best logits (nats, logarithmic)",
             ylabel="log p of the true token:\ninteger - float (nats)")
    axes.legend(fontsize=9, loc="upper left")
    axes.grid(alpha=0.3)
    return figure


def fork(before, words, probabilities):
    """Where two greedy stories part, and how likely each engine finds both continuations. probabilities:
    {engine: (of the first word, of the second)}."""
    figure, [axes] = new_figure(size=(7.4, 1.1 + 1.1 * len(probabilities)))
    for i, (engine, pair) in enumerate(probabilities.items()):
        for j, (word, p) in enumerate(zip(words, pair)):
            y = 2.6 * i + j
            axes.barh(y, p, color=("0.35", "white")[j], hatch=("", "////")[j], edgecolor="black",
                      height=0.85)
            axes.text(p + 0.01, y, f"{word!r}  {p:.3f}", va="center", fontsize=10)
        axes.text(-0.02, 2.6 * i + 0.5, engine, ha="right", va="center", fontsize=10)
    axes.set(xlim=(0, 1.18), ylim=(2.6 * len(probabilities) - 0.8, -0.8), yticks=[],
             xlabel="probability of the next token")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title(f"after ... {before!r}", fontsize=10)
    return figure
