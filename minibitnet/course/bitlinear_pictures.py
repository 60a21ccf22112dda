"""The pictures of notebook 04: the flow through a BitLinear, the whole numbers of float32, sums in many
orders, and the price of a grid."""
import itertools

import numpy as np

from ..measure.plotting import new_figure

BOX = {"ha": "center", "va": "center", "fontsize": 10}


def flow():
    """From activations and weights to y: whole numbers only between quantizers and rescale."""
    figure, [axes] = new_figure(size=(9, 3))
    axes.set(xlim=(0, 18), ylim=(0, 6))
    axes.set_axis_off()

    def box(x, y, text, style="round"):
        return axes.text(x, y, text, bbox={"boxstyle": f"{style},pad=0.4", "facecolor": "white"}, **BOX)

    def arrow(start, end, whole=False):
        (x0, y0), (x1, y1) = start, end
        axes.annotate("", (x1, y1), (x0, y0), arrowprops={
            "arrowstyle": "-|>", "linewidth": 3.2 if whole else 1, "color": "black"})
    box(0.8, 4.5, "x")
    box(3.3, 4.5, "norm")
    box(6.6, 4.5, "absmax")
    box(6.6, 1.5, "absmean")
    box(3.3, 1.5, "W, latent")
    box(10.8, 4.5, "sums of\ncode × code", "square")
    box(14.6, 4.5, "one\nrescale")
    box(17.3, 4.5, "y")
    arrow((1.2, 4.5), (2.4, 4.5))
    arrow((4.2, 4.5), (5.5, 4.5))
    arrow((4.6, 1.5), (5.4, 1.5))
    arrow((7.7, 4.5), (9.4, 4.5), whole=True)
    arrow((7.8, 1.5), (10.2, 3.7), whole=True)
    arrow((12.3, 4.5), (13.8, 4.5), whole=True)
    arrow((15.4, 4.5), (16.9, 4.5))
    axes.plot([6.6, 6.6, 14.2], [5.15, 5.75, 5.75], color="black", linewidth=1, linestyle="--")
    arrow((14.2, 5.75), (14.6, 5.2))
    axes.plot([7.8, 14.6], [1.2, 1.2], color="black", linewidth=1, linestyle="--")
    arrow((14.6, 1.2), (14.6, 3.75))
    axes.text(10.6, 5.45, "scale of each token", ha="center", va="top", fontsize=9)
    axes.text(11.2, 0.95, "scale of the matrix", ha="center", va="top", fontsize=9)
    axes.text(8.5, 4.15, "−127…127", ha="center", va="top", fontsize=9)
    axes.text(9.3, 2.35, "−1, 0, +1", ha="left", va="top", fontsize=9)
    axes.text(0.2, 0.2, "thick: whole numbers, exact      thin: floats      dashed: scales", fontsize=9)
    return figure


def whole_numbers():
    """Which whole numbers float32 has around 2^24 and 2^25."""
    figure, panels = new_figure(panels=2, size=(4.6, 1.7))
    for axes, power in zip(panels, (24, 25)):
        for k in range(-8, 9):
            there = int(np.float32(2**power + k)) == 2**power + k
            axes.plot([k, k], [0, 1 if there else 0.25], color="black" if there else "0.75",
                      linewidth=2.5 if there else 1)
        axes.set(yticks=[], ylim=(0, 1.15), xlabel=f"whole numbers, counted from $2^{{{power}}}$")
        axes.set_xticks(range(-8, 9, 4))
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
    panels[0].set_title("below all, above every second", fontsize=10)
    panels[1].set_title("below every second, above every fourth", fontsize=10)
    return figure


def sums_in_orders(walks, ends, codes_walks, codes_ends):
    """A few running sums (walks: orders, terms), and the last value of every order, for dequantized numbers
    and for codes."""
    figure, panels = new_figure(panels=3, size=(3.1, 3.2))
    for axes, some, title, unit in ((panels[0], walks, "dequantized first", "running sum"),
                                    (panels[1], codes_walks, "codes", "running sum of whole numbers")):
        for walk in some[:4]:
            axes.plot(walk, linewidth=0.8, color="0.3")
        axes.set(xlabel="terms added", ylabel=unit)
        axes.set_title(title, fontsize=10)
    spread = 1e7 * (np.asarray(ends, np.float64) - np.median(ends))
    beside = 0.12 * np.sin(np.arange(len(spread)))
    panels[2].plot(beside, spread, linestyle="none", marker=".", markersize=4, color="0.4")
    panels[2].plot(1, 0, linestyle="none", marker="o", markersize=7, color="black")
    panels[2].set(ylabel="difference of the last value × 10⁷", xlim=(-0.5, 1.5))
    panels[2].set_xticks([0, 1], [f"{len(set(ends))} results", f"{len(set(codes_ends))} result"])
    panels[2].set_title(f"where {len(ends)} orders end", fontsize=10)
    return figure


def fingerprints(table):
    """{way of adding: {method: fingerprint}} -> a table in which equal fingerprints of a column are equally
    grey."""
    figure, [axes] = new_figure(size=(7, 0.42 * len(table) + 0.9))
    methods = list(next(iter(table.values())))
    seen = {method: list(dict.fromkeys(row[method] for row in table.values())) for method in methods}
    shades = np.array([[seen[method].index(row[method]) for method in methods] for row in table.values()])
    axes.imshow(shades, cmap="Greys", vmin=0, vmax=8, aspect="auto", interpolation="nearest")
    for i, row in enumerate(table.values()):
        for j, method in enumerate(methods):
            axes.text(j, i, row[method], ha="center", va="center", family="monospace", fontsize=11)
    axes.set_yticks(range(len(table)), table)
    axes.set_xticks(range(len(methods)), methods)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return figure


def walks_inside(terms, bound, limit):
    """Partial sums of a few whole terms in every order, inside the bound of their norms."""
    figure, [axes] = new_figure(size=(7.4, 3.5))
    for order in itertools.permutations(terms):
        axes.plot(range(len(terms) + 1), [0, *np.cumsum(order)], color="0.35", marker="o", linewidth=1)
    axes.axhspan(-bound, bound, color="0.9", zorder=0)
    for edge, text, style in ((bound, f"|a| |b| = {bound:.1f}: no sum of any subset leaves the grey", "--"),
                              (limit, f"{limit}: up to here the machine has every whole number", "-")):
        axes.axhline(edge, color="black", linewidth=1, linestyle=style)
        axes.axhline(-edge, color="black", linewidth=1, linestyle=style)
        axes.text(0.03, edge + 8, text, fontsize=9, va="bottom")
    axes.set(xlabel="terms added, in each of the six orders", ylabel="partial sum, in units",
             ylim=(-1.15 * limit, 1.3 * limit), xlim=(0, len(terms)), xticks=range(len(terms) + 1))
    return figure


def price(errors, marks):
    """{bits of the norm: relative error}, and {name: bits} of the grades to mark."""
    figure, [axes] = new_figure(size=(6.6, 3.4))
    axes.plot(list(errors), list(errors.values()), color="black", marker=".")
    for name, (bits, place) in marks.items():
        axes.plot([bits], [errors[bits]], marker="o", markersize=9, fillstyle="none", color="black")
        axes.annotate(name, (bits, errors[bits]), place, textcoords="offset points", fontsize=9,
                      arrowprops={"arrowstyle": "-", "linewidth": 0.7})
    axes.axhline(2.0**-24, color="black", linestyle="--", linewidth=1)
    axes.text(min(errors), 2.0**-24 * 1.3, "half a last bit of float32", fontsize=9, va="bottom")
    axes.set(yscale="log", xlabel="bits that the norm of each row and column keeps",
             ylabel="error / size of the product")
    axes.grid(alpha=0.3)
    return figure
