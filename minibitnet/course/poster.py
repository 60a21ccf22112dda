"""The poster "One matrix, three lives": a ternary matrix is floats while it learns, two bits a weight while
it lies in a file, two bit planes while it runs; and the whole-number sums of its product are the same
integers in the first life and in the last. Every number comes from ``poster_numbers``.

A unit is a hundredth of an inch, there are 1600 x 1000 of them, and y goes down.
"""
import math
import textwrap

import numpy as np

from ..drawing import CODES, sign
from ..errors import UserError
from ..measure.plotting import new_figure, save_svg
from .poster_numbers import W, packed_is_float, told, toy

TITLE = "One matrix, three lives"
WIDTH, HEIGHT, LEFT, RIGHT = 1600, 1000, 40, 1560
INK, QUIET, GROUND, CREAM, GRADIENT = "#1a1a1a", "#5c5c58", "#f1f1ed", "#fff0cc", "#00695c"
LEAST, TEXT, NUMBER, LOUD = 12.5, 13.5, 15, 17             # points
SANS, SERIF = "DejaVu Sans", "DejaVu Serif"                # matplotlib brings them along
FONTS = {SANS: "Verdana, sans-serif", SERIF: "Georgia, serif"}
LANES = {"TRAIN": ("nn/", 78, 320), "STORE": ("packing.py", 412, 180), "RUN": ("inference/", 606, 316)}
TEXTS, MATRIX, CODED, COLUMN, SUMS, BLOCKS, END = 110, 380, 708, 936, 1036, 1190, 1376     # where each begins
CELL, WIDE, SUM, BIT = 48, 56, 76, 18                      # widths of a code, a float, a sum, a bit
TOP, BOTTOM = 116, 646                                     # of the matrices in the first lane and the last
FIRST_LABEL, STORE_LABEL, LAST_LABEL = 104, 440, 634
POINTS = 120                                               # of the loss: the file stays small


def draw_poster():
    """The poster -> a matplotlib Figure. UserError where the storyteller, or matplotlib, is not there;
    AssertionError where a number is not the pencil's."""
    figure, [axes] = new_figure(size=(WIDTH / 100, HEIGHT / 100))
    draw(figure, axes)
    return figure


def save(path):
    """Write it as an SVG -> is it drawn? (Not without matplotlib.)"""
    try:
        figure, [axes] = new_figure(size=(WIDTH / 100, HEIGHT / 100))
    except UserError:
        return False
    draw(figure, axes)
    save_svg(figure, path, TITLE, description(), FONTS)
    return True


def description():
    """What the picture shows, for who does not see it."""
    one = toy()
    sums, packed = (", ".join(map(minus, numbers)) for numbers in (one.sums, one.packed[0]))
    return ("A 4 by 4 weight matrix in three lanes. Training: its floats become codes −1, 0 and +1; codes "
            f"times a column of 8-bit activations give {sums}; the gradient goes back through the rounding "
            f"as if it were not there. Storage: four bytes, {packed}. Running: two bit planes give the same "
            "four sums.")


# ---- the pen

class Pen:
    """Draws on axes of WIDTH x HEIGHT units. Colours of codes are those of the other pictures."""

    def __init__(self, axes):
        self.axes = axes
        image = axes.imshow([[0]], **CODES)
        low, _, high = image.to_rgba(np.array([-1.0, 0, 1]))
        image.remove()
        self.colors = {-1: (low, "white"), 0: ("white", INK), 1: (high, "white")}
        axes.set(position=(0, 0, 1, 1), aspect="auto", xlim=(0, WIDTH), ylim=(HEIGHT, 0), xticks=[],
                 yticks=[])
        axes.set_axis_off()

    def text(self, x, y, text, size=TEXT, color=INK, ha="left", va="center_baseline", family=SANS, **style):
        self.axes.text(x, y, text, fontsize=size, color=color, ha=ha, va=va, family=family, linespacing=1.35,
                       **style)

    def lines(self, x, y, text, size=TEXT, color=INK, **style):
        """Several lines, around y."""
        self.text(x, y, text, size, color, va="center", **style)

    def label(self, x, y, text, ha="left"):
        """What something is, in small quiet letters above or below it."""
        self.text(x, y, text, LEAST, QUIET, ha, "baseline")

    def box(self, x, y, width, height, fill="white", edge=INK, line=0.8, corner=0):
        """A rectangle, with round corners of so many units."""
        turn = np.linspace(0, math.pi / 2, 7 if corner else 1)           # of the lower right one
        a, b, c = corner * np.cos(turn), corner * np.sin(turn), corner
        left, right, up, down = x + c, x + width - c, y + c, y + height - c
        xs = np.concatenate([right + a, left - b, left - a, right + b])
        ys = np.concatenate([down + b, down + a, up - b, up - a])
        self.axes.fill(xs, ys, facecolor=fill, edgecolor=edge, linewidth=line, clip_on=False)

    def cell(self, x, y, width, height, text, fill="white", color=INK, size=NUMBER, line=0.8):
        """A box with a text in the middle."""
        self.box(x, y, width, height, fill, line=line)
        self.text(x + width / 2, y + height / 2, text, size, color, "center")

    def code(self, x, y, width, height, code, text=None):
        """A cell in a code's colour, with the code in it."""
        self.cell(x, y, width, height, minus(sign(code)) if text is None else text, *self.colors[code])

    def column(self, x, y, values, width, **style):
        """Whole numbers, one below the other."""
        for i, value in enumerate(values):
            self.cell(x, y + CELL * i, width, CELL, minus(value), **style)

    def line(self, *points, color=INK, width=1.8, dashed=False):
        """Through these points."""
        self.axes.plot(*zip(*points), color=color, linewidth=width, clip_on=False, solid_capstyle="butt",
                       linestyle=(0, (4, 2.4)) if dashed else "-", dash_capstyle="butt")

    def arrow(self, *points, **style):
        """Through these points, with a head at the last one."""
        self.line(*points, **style)
        before, tip = map(np.array, points[-2:])
        ahead = (tip - before) / math.hypot(*(tip - before))
        neck, aside = tip - 13 * ahead, 6.5 * ahead[::-1] * (-1, 1)
        self.axes.fill(*np.transpose([tip, neck + aside, neck - aside]), facecolor=style.get("color", INK),
                       edgecolor="none", clip_on=False)


def minus(value, form=""):
    """A number as text, whose minus is as long as a plus; without a form a whole one."""
    text = value if isinstance(value, str) else format(value if form else int(value), form)
    return text.replace("-", "−")


def shown(text):
    """A token as text, whose space can be seen."""
    return text.replace(" ", "␣").replace("\n", "⏎") or "(end)"


def raised(number):
    """A whole number as an exponent."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


# ---- the whole, and what crosses the lanes

def draw(figure, axes):
    """All of it, on these axes and one more."""
    figure.set_layout_engine("none")
    pen, one, model = Pen(axes), toy(), told()
    pen.text(LEFT, 40, TITLE, 30, weight="bold")
    pen.text(RIGHT, 42, "a 1-bit language model, from the equation to the byte", LOUD, QUIET, "right")
    for name, (home, y, height) in LANES.items():
        pen.box(LEFT, y, RIGHT - LEFT, height, GROUND, "none")
        pen.box(LEFT, y, 60, height, INK, "none")
        for x, text, size, weight in ((17, name, LOUD, "bold"), (46, home, LEAST, "normal")):
            pen.lines(LEFT + x, y + height / 2, text, size, "white", ha="center", rotation=90, weight=weight)
    draw_gradient(pen, one)
    draw_link(pen)
    draw_training(pen, one, model)
    draw_loss(figure, pen, model.metrics)
    draw_bytes(pen, one)
    draw_running(pen, one, model)
    draw_legend(pen)


def draw_link(pen):
    """From the sums of training to those of running: the one thing that the poster shows."""
    first = TOP + 4 * CELL
    pen.box(SUMS, first, SUM, BOTTOM - first, CREAM, "none")
    for x in (SUMS, SUMS + SUM):
        pen.line((x, first), (x, BOTTOM), width=1)
    pen.text(SUMS + SUM / 2, 500, "=", 40, ha="center", weight="bold")
    pen.lines(SUMS + SUM + 16, 500, "the same\nwhole numbers,\nbit for bit", LOUD, weight="bold")


def draw_gradient(pen, one):
    """The way back, past the rounding."""
    row, column = one.flipped
    x, y = MATRIX + WIDE * (column + 0.5), TOP + 4 * CELL
    pen.arrow((1481, 350), (1481, 376), (x, 376), (x, y + 4), color=GRADIENT, dashed=True, width=2.2)
    pen.text(x + 18, 354, "the gradient goes straight through the rounding,", color=GRADIENT)
    pen.text(SUMS + SUM + 16, 354, "as if it were not there", color=GRADIENT)
    before, after = (minus(w[row, column], ".2f") for w in (W, one.after))
    pen.lines(TEXTS, 344, f"one step: {before} → {after},\n"
              f"and its code flips: {minus(sign(one.old))} → {minus(sign(one.new))}", color=GRADIENT)


def draw_legend(pen):
    """What the colours mean, and where the numbers are from."""
    y = 942
    for i, code in enumerate((-1, 0, 1)):
        pen.code(TEXTS + CELL * i, y, CELL, 36, code)
    pen.text(TEXTS + 154, y + 18, "codes")
    pen.box(340, y, 60, 36, CREAM, line=2.6)
    pen.text(410, y + 18, "whole-number sums")
    pen.arrow((640, y + 18), (706, y + 18), color=GRADIENT, dashed=True, width=2.2)
    pen.text(716, y + 18, "gradient, in training only")
    pen.lines(RIGHT, y + 18, "The 4 × 4 matrix is a toy; ids, loss and logits are the storyteller’s.\n"
              "Every number here is computed by the library.", LEAST, QUIET, ha="right")


# ---- the three lives

def draw_training(pen, one, model):
    """The first life: floats that learn, from a story to new latent weights."""
    middle = TOP + 2 * CELL
    pen.label(TEXTS, FIRST_LABEL, "text of known entropy")
    story = textwrap.wrap(model.story, 21)[:3]
    pen.lines(TEXTS, 156, "\n".join(story) + " …", NUMBER, family=SERIF, style="italic")
    pen.label(TEXTS, 228, "token ids")
    for i, (text, number) in enumerate(model.tokens):
        pen.cell(TEXTS + 62 * i, 238, 62, 34, f"{number}", size=TEXT)
        pen.label(TEXTS + 62 * i + 31, 291, shown(text), "center")

    pen.label(MATRIX, FIRST_LABEL, "latent weights W, float32")
    pen.label(CODED, FIRST_LABEL, "codes")
    for i, j in np.ndindex(W.shape):
        pen.cell(MATRIX + WIDE * j, TOP + CELL * i, WIDE, CELL, minus(W[i, j], ".1f"), size=14)
        pen.code(CODED + CELL * j, TOP + CELL * i, CELL, CELL, int(one.weights.codes[i, j]))
    i, j = one.flipped
    for x, width in ((MATRIX, WIDE), (CODED, CELL)):
        for edge, line in (("white", 7), (GRADIENT, 4)):
            pen.box(x + width * j, TOP + CELL * i, width, CELL, "none", edge, line)
    pen.arrow((612, middle), (700, middle))
    pen.lines(656, middle - 30, "÷ s, round,\nclip to ±1", LEAST, ha="center")
    pen.lines(656, middle + 30, f"s = {one.weights.scale.item():g} =\nmean |W|", LEAST, ha="center")
    draw_product(pen, one, TOP, FIRST_LABEL, "sums")
    draw_block(pen, TOP, FIRST_LABEL, ["× s · sₓ"], "the rest of a block",
               ["norm", "rotate", "attend", "gate", "add"])


def draw_product(pen, one, top, label, name):
    """× x = sums"""
    middle = top + 2 * CELL
    pen.text((CODED + 4 * CELL + COLUMN) / 2, middle, "×", 22, ha="center")
    pen.label(COLUMN, label, "x, int8")
    pen.column(COLUMN, top, one.column.codes, 68)
    pen.text((COLUMN + 68 + SUMS) / 2, middle, "=", 18, ha="center")
    pen.label(SUMS + SUM / 2, label, name, "center")
    pen.column(SUMS, top, one.sums, SUM, fill=CREAM, line=2.6, size=LOUD)


def draw_block(pen, top, label, scale, name, parts):
    """The rescale, above and below its arrow, and what follows."""
    middle, start, width = top + 2 * CELL, SUMS + SUM, 156
    pen.arrow((start + 6, middle), (BLOCKS - 6, middle))
    for text, y in zip(scale, (middle - 18, middle + 18)):
        pen.text((start + BLOCKS) / 2, y, text, LEAST, ha="center")
    pen.label(BLOCKS, label, name)
    pen.box(BLOCKS, top, width, 4 * CELL, corner=10)
    for i, part in enumerate(parts):
        pen.text(BLOCKS + width / 2, top + 4 * CELL * (i + 0.5) / len(parts), part, ha="center")
    pen.arrow((BLOCKS + width + 4, middle), (END - 2, middle))


def draw_loss(figure, pen, lines):
    """The storyteller's training, with the floor where it is known, on a logarithmic axis."""
    pen.label(END, FIRST_LABEL, "loss, nats a token")
    axes = figure.add_axes((1416 / WIDTH, 1 - 308 / HEIGHT, 130 / WIDTH, 190 / HEIGHT))
    last, font = lines[-1]["step"], {"fontsize": LEAST, "family": SANS}
    scored = [line for line in lines if line.get("val_loss") is not None]
    some, every = lines[::-(-len(lines) // POINTS)], -(-len(scored) // 6)
    axes.plot([line["step"] for line in some], [line["loss"] for line in some], color="0.55", linewidth=1.2)
    axes.plot([line["step"] for line in scored], [line["val_loss"] for line in scored], color=INK,
              linewidth=1.2, marker="o", markersize=4, markevery=((len(scored) - 1) % every, every),
              clip_on=False)
    floor, least = scored[-1].get("floor"), min(line["val_loss"] for line in scored)
    if floor is not None:
        axes.axhline(floor, color=INK, linestyle="--", linewidth=1.2)
        axes.text(last, floor / 1.04, f"floor {floor:.3f}", ha="right", va="top", **font)
        least = min(least, floor)
    most = max(line["loss"] for line in some)
    axes.set(yscale="log", ylim=(least / 2, 1.1 * most), xlim=(0, last))
    ticks = [y for y in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10) if least / 2 <= y <= 1.1 * most]
    axes.set_yticks(ticks, [f"{y:g}" for y in ticks], **font)
    axes.set_xticks([0, last], ["0", f"{last:,} steps"], **font)
    axes.get_xticklabels()[1].set_ha("right")
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.patch.set_alpha(0)


def draw_bytes(pen, one):
    """The second life: the bytes of a file."""
    pen.label(TEXTS, STORE_LABEL, "packed.safetensors")
    pen.lines(TEXTS, 506, f"{W.size} weights take\n{W.nbytes} bytes as float32,\n"
              f"{one.packed.nbytes} bytes packed,\nand {one.weights.scale.nbytes} for the scale s")
    for b, byte in enumerate(one.packed[0].tolist()):
        x = MATRIX + 156 * b
        pen.label(x + 4 * BIT, STORE_LABEL, f"column {b}", "center")
        for k, bit in enumerate(f"{byte:08b}"):
            pen.code(x + BIT * k, 452, BIT, 38, int(one.weights.codes[3 - k // 2, b]), bit)
        for pair in range(4):
            pen.box(x + 2 * BIT * pair, 452, 2 * BIT, 38, "none", line=2)
            pen.label(x + 2 * BIT * (pair + 0.5), 509, f"r{3 - pair}", "center")
        pen.text(x + 4 * BIT, 534, f"byte {byte}", LOUD, ha="center", weight="bold")
        meaning = f"{b:02b} is {minus(sign(b - 1))}" if b < 3 else f"{b:02b} is refused"
        pen.text(x, 570, meaning, LEAST)
    pen.label(END, STORE_LABEL, "bits a weight")
    bits = {"float32": 8 * W.itemsize, "float16": 8 * np.dtype(np.float16).itemsize,
            "packed": 8 * one.packed.nbytes / W.size, "log₂ 3": math.log2(3)}
    for i, (name, value) in enumerate(bits.items()):
        y, length = 466 + 30 * i, 2.8 * value
        pen.text(1428, y, name, LEAST, ha="right")
        pen.box(1436, y - 10, length, 20, INK if name == "packed" else "#b4b4b0", "none")
        pen.text(1442 + length, y, f"{value:.3g}", LEAST)


def draw_running(pen, one, model):
    """The third life: whole numbers, from a token to the next."""
    middle, width, bit = BOTTOM + 2 * CELL, 78, 37
    pen.label(TEXTS, LAST_LABEL, f"embedding row {model.tokens[0][1]}, int16")
    for i, value in enumerate(model.row[:3]):
        pen.cell(TEXTS + width * i, BOTTOM, width, 36, minus(value), size=LEAST)
        pen.label(TEXTS + width * (i + 0.5), BOTTOM + 57, minus(value / 2**model.row_bits, ".3f"), "center")
    pen.text(TEXTS + 3 * width + 5, BOTTOM + 18, "…")
    pen.lines(TEXTS, BOTTOM + 112, f"in units of 2{raised(-model.row_bits)}.\nFrom here to the next\n"
              "token: no float.")

    pen.label(MATRIX, LAST_LABEL, "bit planes")
    zero, ones = ("white", INK), ((INK, "white"), pen.colors[-1])
    for plane, name in enumerate(("1: not zero", "1: negative")):
        x = MATRIX + 166 * plane
        for i, j in np.ndindex(W.shape):
            there = one.planes[plane, i, j]
            pen.cell(x + bit * j, BOTTOM + bit * i, bit, bit, f"{there:d}", *(ones[plane] if there else zero),
                     size=TEXT)
        pen.text(x + 2 * bit, BOTTOM + 168, name, LEAST, ha="center")
    pen.text(MATRIX, BOTTOM + 198, "no weight is unpacked")
    pen.arrow((706, middle), (736, middle))
    pen.lines(815, middle, "xor, and,\ncount ones", ha="center")
    draw_product(pen, one, BOTTOM, LAST_LABEL, "int32")
    draw_block(pen, BOTTOM, LAST_LABEL, ["× m", ">> k"], "the same block",
               ["integer root", "int16 rotation", "2⁻ᵈ by table", "int8 cache", "int32 stream"])

    pen.label(END, LAST_LABEL, f"logits after “{model.prompt}”")
    for i, token in enumerate(model.logits):
        x, y, most = END + 108, BOTTOM + CELL * i, 66
        pen.cell(END, y + 4, 100, 40, minus(token.logit, ","), size=LEAST)
        pen.text(x, y + 17, shown(token.text), LEAST, va="baseline")
        pen.box(x, y + 30, max(1, most * token.chance), 8, INK, "none")
        if token.truth:
            pen.box(x, y + 27, most * token.truth, 14, "none", line=1.4)
    pen.label(RIGHT - 8, BOTTOM + 4 * CELL + 24, "bar: the model · frame: the language", "right")
    assert packed_is_float()
    pen.text(TEXTS, 896, "The packed engine gives the float engine’s logits, bit for bit; the integer engine "
             f"finds the same next token at {model.same:,} of {model.places:,} places in new stories.")
