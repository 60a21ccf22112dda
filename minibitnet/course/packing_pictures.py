"""The pictures of notebook 07: bytes, bands, bits a weight, counted bits, looked-up sums, times."""
import numpy as np

from ..drawing import CODES, sign
from ..measure.plotting import new_figure

BANDS = ({"facecolor": "white"}, {"facecolor": "0.85"}, {"facecolor": "0.7"},
         {"facecolor": "0.9", "hatch": "///"})                           # of the four pairs, lowest first
TERNARY = 1.584962500721156                                              # log2 3


def box(axes, x, y, text, width=1.0, size=11, color="black", **face):
    """A rectangle with a text in it, its upper left corner at x, y (y grows downwards)."""
    axes.fill([x, x + width, x + width, x], [y, y, y + 1, y + 1], edgecolor="black", linewidth=0.8, **face)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5} if face.get("hatch") else None
    axes.text(x + width / 2, y + 0.5, text, ha="center", va="center", fontsize=size, color=color, bbox=paper)


def bare(axes, x, y, title=""):
    """Axes without marks, from 0 to x and 0 to y, downwards."""
    axes.set(xlim=x, ylim=y[::-1], title=title)
    axes.set_axis_off()


def one_byte(w):
    """Four weights in a byte, the first in the lowest bits."""
    figure, [axes] = new_figure(size=(7, 2.4))
    bare(axes, (-1.6, 10), (-1.3, 3.1))
    byte = sum(weight + 1 << 2 * i for i, weight in enumerate(w))
    for bit in range(8):
        x = 7 - bit
        box(axes, x, 0, f"{byte >> bit & 1}", size=15, **BANDS[bit // 2])
        axes.text(x + 0.5, -0.35, f"{1 << bit}", ha="center", fontsize=9)
    for i, weight in enumerate(w):
        x = 6 - 2 * i
        axes.plot([x + 0.1, x + 0.1, x + 1.9, x + 1.9], [1.15, 1.3, 1.3, 1.15], color="black", linewidth=1)
        axes.text(x + 1, 1.85, f"{sign(weight)} + 1 = {weight + 1}", ha="center", fontsize=10)
        axes.text(x + 1, 2.6, f"row {i}", ha="center", fontsize=10)
    axes.text(-0.2, -0.35, "counts", ha="right", fontsize=9)
    axes.text(-0.2, 0.6, "bits", ha="right", fontsize=10)
    axes.text(-0.2, 1.85, "code + 1", ha="right", fontsize=10)
    axes.text(8.25, 0.65, f"= {byte}", fontsize=15)
    return figure


def bands(rows=8):
    """Which rows of a column share a byte: in the project's layout, and where neighbours share one."""
    figure, panels = new_figure(panels=2, size=(4.3, 3.9))
    R = rows // 4
    for axes, title, place in (
            (panels[0], "this project: a quarter apart", lambda row: (row % R, row // R)),
            (panels[1], "another layout: neighbours", lambda row: (row // 4, row % 4))):
        bare(axes, (-0.2, 7.6), (-1.1, rows + 0.2), title)
        axes.text(0.9, -0.3, "the rows", ha="center", fontsize=9)
        axes.text(5.4, 1.6, "the bytes, high bits left", ha="center", fontsize=9)
        for row in range(rows):
            byte, pair = place(row)
            top = 2 + 2.4 * byte
            box(axes, 0, row, f"row {row}", 1.8, 10, **BANDS[pair])
            box(axes, 6.3 - pair, top, f"{row}", 1, 11, **BANDS[pair])
            axes.plot([1.8, 2.25, 2.9, 3.3], [row + 0.5, row + 0.5, top + 0.5, top + 0.5], color="0.5",
                      linewidth=0.9, linestyle="-" if byte == 0 else "--")
        for byte in range(R):
            axes.text(5.3, 3.45 + 2.4 * byte, f"byte row {byte}", ha="center", fontsize=9)
    return figure


def bits_line():
    """Bits a weight on a line, from 16 down to what no layout can go below."""
    figure, [axes] = new_figure(size=(7.6, 2.7))
    marks = {"float16": 16, "8 bits": 8, "4 bits": 4, "2 bits": 2, "5 in a byte": 1.6}
    axes.set(xscale="log", xlim=(1.2, 18), ylim=(0, 1), yticks=[], xlabel="bits a weight (logarithmic)")
    axes.fill_betweenx([0, 1], 1.2, TERNARY, facecolor="0.9", hatch="///", edgecolor="0.6", linewidth=0)
    axes.axvline(TERNARY, color="black", linewidth=1.5)
    for (name, bits), height in zip(marks.items(), (0.55, 0.55, 0.55, 0.3, 0.72)):
        smaller = f"{16 / bits:g} x smaller" if bits < 16 else "our measure"
        axes.plot([bits, bits], [0, height - 0.08], color="black", linewidth=1)
        axes.plot([bits], [0], color="black", marker="o", clip_on=False)
        axes.text(bits * (1.015 if bits < 16 else 0.99), height, f"{name}\n{smaller}",
                  ha="left" if bits < 16 else "right", va="center", fontsize=9)
    axes.set_xticks([16, 8, 4, 2, 1.6], ["16", "8", "4", "2", "1.6"])
    axes.set_xticks([], minor=True)
    axes.text(1.22, 0.5, "below\nlog$_2$ 3\nno layout\nholds every\nmatrix", fontsize=8, va="center",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})
    axes.set_title("The matrices of BitLinears alone: embeddings and norms stay as they are", fontsize=10)
    return figure


def counted_bits(x, w):
    """The bits of four features or so, and which of them weights of +1 and -1 count."""
    places = [1, 2, 4, 8, 16, 32, 64, -128]
    figure, [axes] = new_figure(size=(7.2, 4.2))
    m = len(x)
    bare(axes, (-1.7, m + 5.4), (-2.5, 9.4))
    for j, (value, weight) in enumerate(zip(x, w)):
        axes.text(j + 0.5, -1.55, f"{value}", ha="center", fontsize=12)
        axes.text(j + 0.5, -0.4, sign(weight), ha="center", fontsize=12)
    axes.text(-0.2, -1.55, "feature", ha="right", fontsize=10)
    axes.text(-0.2, -0.4, "weight", ha="right", fontsize=10)
    for text, dx in (("+1 counts", 0.9), ("-1 counts", 2.4), ("times place", 4.2)):
        axes.text(m + dx, -0.4, text, ha="center", fontsize=9)
    whole = 0
    for b, place in enumerate(places):
        counts = {1: 0, -1: 0, 0: 0}
        for j, (value, weight) in enumerate(zip(x, w)):
            bit = value >> b & 1
            counts[weight] += bit
            face = {1: {"facecolor": "0.75"}, -1: {"facecolor": "white", "hatch": "xxx"}}.get(weight)
            box(axes, j, b, f"{bit}", size=11, color="black" if bit else "0.6",
                **(face if bit and face else {"facecolor": "white"}))
        axes.text(-0.2, b + 0.5, f"place {place}", ha="right", va="center", fontsize=9)
        for text, dx in ((counts[1], 0.9), (counts[-1], 2.4), ((counts[1] - counts[-1]) * place, 4.2)):
            axes.text(m + dx, b + 0.5, f"{text}", ha="center", va="center", fontsize=11)
        whole += (counts[1] - counts[-1]) * place
    axes.plot([m + 3.5, m + 5], [8.1, 8.1], color="black", linewidth=1)
    axes.text(m + 4.2, 8.7, f"{whole}", ha="center", va="center", fontsize=12, weight="bold")
    return figure


def table_of_two(x):
    """The nine sums that two ternary weights can make of two features."""
    figure, [axes] = new_figure(size=(5.4, 3.3))
    codes = np.array([-1, 0, 1])
    sums = codes[:, None] * x[0] + codes * x[1]
    axes.imshow(sums, cmap="Greys", vmin=sums.min(), vmax=3 * sums.max() + 3, aspect="auto")
    for i in range(3):
        for j in range(3):
            axes.text(j, i, f"{sums[i, j]}", ha="center", va="center", fontsize=14)
            axes.text(j + 0.46, i + 0.44, f"index {3 * i + j}", ha="right", va="bottom", fontsize=8)
    axes.set(title=f"features {x[0]} and {x[1]}: every sum there is, made once for all rows",
             xlabel=f"weight of the second feature, {x[1]}", ylabel=f"weight of the first feature, {x[0]}")
    axes.title.set_fontsize(10)
    for ticks in (axes.set_xticks, axes.set_yticks):
        ticks(range(3), [sign(int(code)) for code in codes])
    return figure


def kernel_times(record):
    """Milliseconds of a product with one token, by kernel and size, from a stored result."""
    kernels = {"dense float32": {"facecolor": "white"}, "BLAS by tiles": {"facecolor": "0.85"},
               "lookup tables": {"facecolor": "0.7", "hatch": "///"}, "bit planes": {"facecolor": "0.2"}}
    figure, [axes] = new_figure(size=(8, 3.8))
    rows = record["result"]["rows"]
    for k, (name, face) in enumerate(kernels.items()):
        axes.bar([i + 0.2 * (k - 1.5) for i in range(len(rows))], [row[name]["ms"] for row in rows], 0.2,
                 edgecolor="black", linewidth=0.7, label=name, **face)
    axes.set_xticks(range(len(rows)), [row["shape"].replace("x", " x ") for row in rows])
    axes.set(yscale="log", ylabel="ms for one token (logarithmic)", xlabel="matrix, outputs x inputs")
    axes.legend(fontsize=9)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    where = record["environment"]
    axes.set_title(f"{record['command']}\n{where['processor']}, NumPy {where['numpy']}, {record['date']}",
                   fontsize=8, loc="left")
    return figure


def bytes_and_codes(packed, codes):
    """A corner of a matrix as its bytes, and as what they mean."""
    figure, panels = new_figure(panels=2, size=(4, 3.6))
    panels[0].imshow(packed, cmap="Greys", vmin=0, vmax=170, interpolation="nearest", aspect="auto")
    panels[1].imshow(codes, interpolation="nearest", aspect="auto", **CODES)
    panels[0].set(title=f"{packed.shape[0]} x {packed.shape[1]} bytes", xlabel="input", ylabel="byte row")
    panels[1].set(title=f"{codes.shape[0]} x {codes.shape[1]} weights", xlabel="input", ylabel="output")
    return figure
