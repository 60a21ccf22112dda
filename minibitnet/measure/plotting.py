"""Figures. The only file that imports matplotlib, and only inside a function: it is an optional extra. Each
function -> False where it is absent, but for ``new_figure``, of whoever wants the picture itself."""
import html
import importlib.util
import io
import math
import re
from pathlib import Path

from ..errors import UserError
from ..files import write_atomically
from .costs import UNITS

GREYS, MARKERS = ("black", "0.55", "0.8"), (".", "x", "s")
STYLES = [(color, marker, line) for line in ("-", "--", ":") for color, marker in zip(GREYS, MARKERS)]
PICTURES = ".png", ".svg", ".pdf"
LONG = 1e5                             # from here on numbers are too long for an axis, and powers of ten do
# over a line, which shows
PRINTED = {"linestyle": "none", "marker": "o", "markersize": 9, "fillstyle": "none", "color": "black",
           "zorder": 3}


def _figure(panels=1, size=(6, 3.6)):
    """-> (figure, one axes for each panel), or (None, None)"""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return None, None
    figure = Figure(figsize=(panels * size[0], size[1]), layout="constrained")
    return figure, [figure.add_subplot(1, panels, i + 1) for i in range(panels)]


def new_figure(panels=1, size=(6, 3.6)):
    """-> (a figure that a notebook shows, its axes); UserError where matplotlib is absent."""
    figure, axes = _figure(panels, size)
    if not figure:
        raise UserError("matplotlib is not installed: expected it for a picture (pip install matplotlib)")

    def as_png():
        buffer = io.BytesIO()
        figure.savefig(buffer, dpi=100)
        return buffer.getvalue()
    figure._repr_png_ = as_png                   # a notebook asks for it; pyplot is not needed
    return figure, axes


def unwritable(path):
    """Why a picture cannot be written to a path, or None."""
    if Path(path).suffix.lower() not in PICTURES:
        return f"expected the name of a file that ends in {', '.join(PICTURES[:-1])} or {PICTURES[-1]}"
    return None if importlib.util.find_spec("matplotlib") else "matplotlib is not installed, which draws it"


def save(figure, path):
    """Write a picture, of the kind that the name's end says, whole or not at all."""
    buffer, path = io.BytesIO(), Path(path)
    figure.savefig(buffer, dpi=120, format=path.suffix[1:].lower())
    write_atomically(path, [buffer.getbuffer()], buffer.tell())


def save_svg(figure, path, title, description, fonts):
    """Write an SVG for a page: its text is text, a title and a description are in it for who does not see
    it, and it is the same file at every call. fonts: {family that it was drawn with: those to take where that
    is missing}, the usual one first."""
    from matplotlib import rc_context
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Title": title, "Date": None, "Creator": None})
    text = buffer.getvalue().decode("utf-8")
    text = text.replace("</title>", f"</title>\n <desc>{html.escape(description)}</desc>", 1)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    for family, others in fonts.items():
        text = text.replace(f"'{family}'", f"'{family}', {others}")
    usual = next(f"font-family: '{family}', {others}" for family, others in fonts.items())
    text = text.replace(f"{usual}; ", "").replace("</style>", f"text{{{usual}}}</style>", 1)
    data = text.encode("utf-8")
    write_atomically(Path(path), [data], len(data))


def points(series, xlabel, ylabel, path, printed=None):
    """series: {name: {x: value, or (value, least, most)}} as lines with bars; printed: {x: value} of a
    paper as open markers. An x is a number or a model's name, "1.3B"; its axis is logarithmic."""
    figure, axes = _figure()
    if not figure:
        return False
    _points(axes[0], series, xlabel, ylabel, printed)
    return _save(figure, axes, path)


def panels(several, path, log=False):
    """[(xlabel, ylabel, series)] side by side, as ``points`` draws each; those with the same ylabel on one
    scale; log: on a logarithmic one."""
    figure, axes = _figure(panels=len(several), size=(5, 3.6))
    if not figure:
        return False
    first = {}
    for panel, (xlabel, ylabel, series) in zip(axes, several):
        if first.setdefault(ylabel, panel) is not panel:
            panel.sharey(first[ylabel])
        _points(panel, series, xlabel, ylabel, None)
    if log:
        for panel in axes:
            panel.set_ylim(auto=True)
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(lambda y, _: f"{y:g}" if f"{y:e}"[0] in "125" else "")
            panel.autoscale(axis="y")
    return _save(figure, axes, path)


def curves(several, xlabel, path):
    """[(ylabel, {name: {x: value}})] side by side, as lines without marks, over a logarithmic x."""
    figure, axes = _figure(panels=len(several), size=(5, 3.6))
    if not figure:
        return False
    for panel, (ylabel, series) in zip(axes, several):
        panel.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
        for (name, values), (color, _, line) in zip(series.items(), STYLES):
            panel.plot(list(values), list(values.values()), color=color, linestyle=line, label=name)
        panel.set_ylim(bottom=0)
    return _save(figure, axes, path)


def differences(lines, xlabel, path):
    """[(name, value, half of its interval)] as points with bars, one below another, about a line at 0."""
    figure, axes = _figure(size=(10, 1 + 0.28 * len(lines)))
    if not figure:
        return False
    names, values, halves = zip(*lines)
    places = range(len(lines), 0, -1)
    axes[0].errorbar(values, places, xerr=halves, linestyle="none", marker="o", color="black", capsize=3)
    axes[0].axvline(0, color="black", linestyle="--", linewidth=1)
    axes[0].set_yticks(list(places), names)
    if max(map(abs, values)) > 50:               # one far out would press the others together
        axes[0].set_xscale("symlog", linthresh=10)
    axes[0].set_xlabel(xlabel)
    axes[0].grid(alpha=0.3)
    save(figure, path)
    return True


def categories(title, ylabel, series, path):
    """series: {name: {category: value}} as markers side by side over categories, on a logarithmic axis."""
    figure, axes = _figure()
    if not figure:
        return False
    axes[0].set(title=title, ylabel=ylabel, yscale="log")
    places = {x: i for i, x in enumerate(dict.fromkeys(x for values in series.values() for x in values))}
    for i, ((name, values), color, marker) in enumerate(zip(series.items(), GREYS, ("o", "X", "s"))):
        beside = 0.14 * (i - (len(series) - 1) / 2)
        axes[0].plot([places[x] + beside for x in values], list(values.values()), linestyle="none",
                     marker=marker, markersize=8, color=color, markeredgecolor="black", label=name)
    axes[0].set_xticks(list(places.values()), places)
    axes[0].margins(x=0.2, y=0.15)
    return _save(figure, axes, path)


def heat(values, rows, xlabel, label, path):
    """Rows of numbers from 0 to 100 as a picture, with a scale beside it."""
    figure, axes = _figure(size=(max(6, 2.5 + 0.25 * max(map(len, values))), 1 + 0.35 * len(rows)))
    if not figure:
        return False
    image = axes[0].imshow(values, cmap="Greys", vmin=0, vmax=100, aspect="auto", interpolation="nearest")
    axes[0].set_yticks(range(len(rows)), rows)
    axes[0].set(xlabel=xlabel)
    axes[0].xaxis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, ax=axes[0], label=label)
    save(figure, path)
    return True


def two_categories(left, right, path):
    """Two panels, each (title, ylabel, {category: value, or a list of them}, a line to be above, or None)."""
    figure, axes = _figure(panels=2, size=(4.2, 3.6))
    if not figure:
        return False
    for panel, (title, ylabel, values, line) in zip(axes, (left, right)):
        panel.set(title=title, ylabel=ylabel)
        for x, (name, ys) in enumerate(values.items()):
            ys = ys if isinstance(ys, list) else [ys]
            panel.plot([x] * len(ys), ys, linestyle="none", marker="o", fillstyle="none", color="black")
            panel.annotate(f"{sum(ys) / len(ys):.3f}", (x, sum(ys) / len(ys)), (10, 0), va="center",
                           textcoords="offset points", fontsize=9)
        panel.set_xticks(range(len(values)), values)
        panel.margins(x=0.25, y=0.15)
        if line is not None:
            panel.axhline(line, color="black", linestyle="--", linewidth=1, label="the floor")
            panel.legend()
        panel.grid(alpha=0.3)
    save(figure, path)
    return True


def stacks_and_points(stacks, share, series, xlabel, ylabel, path, printed=None):
    """Two panels: stacks {bar: {part: share of 1}} with the label ``share``, and points as above."""
    figure, axes = _figure(panels=2)
    if not figure:
        return False
    below = dict.fromkeys(stacks, 0)
    for part, color in zip(next(iter(stacks.values())), GREYS):
        shares = [parts[part] for parts in stacks.values()]
        axes[0].bar(list(stacks), shares, bottom=list(below.values()), color=color, edgecolor="white",
                    label=part)
        below = {bar: bottom + share for (bar, bottom), share in zip(below.items(), shares)}
    axes[0].set_ylabel(share)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(GREYS))
    _points(axes[1], series, xlabel, ylabel, printed)
    return _save(figure, axes, path)


def flow(columns, path):
    """columns: {title: [(text of a box, text of what enters it from the side or "")]}, from the top down,
    with arrows between them."""
    longest = max(map(len, columns.values()))
    figure, axes = _figure(panels=len(columns), size=(5, 0.75 * longest))
    if not figure:
        return False
    box = {"ha": "center", "va": "center", "fontsize": 9, "bbox": {"boxstyle": "round", "facecolor": "white"}}
    for panel, (title, boxes) in zip(axes, columns.items()):
        panel.set_title(title)
        panel.set_axis_off()
        panel.set_ylim(-longest, 0)
        for i, (text, side) in enumerate(boxes):
            if i:
                panel.annotate("", (0.35, -i - 0.22), (0.35, -i + 0.22), arrowprops={"arrowstyle": "->"})
            here = panel.text(0.35, -i - 0.5, text, **box)
            if side:
                panel.annotate(side, (0.35, -i - 0.5), (0.85, -i - 0.5),
                               arrowprops={"arrowstyle": "->", "patchB": here.get_bbox_patch()}, **box)
    save(figure, path)
    return True


def _points(axes, series, xlabel, ylabel, printed):
    axes.set(xlabel=xlabel, ylabel=ylabel, xscale="log")
    places = {x: float(x[:-1]) * UNITS[x[-1]] if isinstance(x, str) else x
              for values in (*series.values(), printed or {}) for x in values}
    assert len(series) <= len(STYLES), "more lines than styles"
    for (name, values), (color, marker, line) in zip(series.items(), STYLES):
        middle, bars = list(values.values()), None
        if isinstance(middle[0], tuple):
            middle, least, most = zip(*middle)
            bars = [[max(0, y - a) for y, a in zip(middle, least)],  # a mean may round to below its least
                    [max(0, b - y) for y, b in zip(middle, most)]]
        axes.errorbar([places[x] for x in values], middle, bars, marker=marker, color=color, linestyle=line,
                      capsize=3, label=name)
    if printed:
        axes.plot([places[x] for x in printed], list(printed.values()), label="paper", **PRINTED)
    if max(places.values(), default=0) < LONG or any(isinstance(x, str) for x in places):
        axes.set_xticks(list(places.values()), apart(places))
        axes.set_xticks([], minor=True)
    axes.set_ylim(bottom=0)


def apart(places):
    """{label: place on a logarithmic axis} -> the labels, one line further down where the one before is so
    near that the two would touch."""
    near, labels = 0.09 * math.log(max(places.values()) / min(places.values())), dict.fromkeys(places, "")
    ordered = sorted(places, key=places.get)
    for before, label in zip(ordered, ordered[1:]):
        too_near = math.log(places[label] / places[before]) < near
        labels[label] = "\n" if too_near and not labels[before] else ""
    return [f"{labels[label]}{label}" for label in places]


def _save(figure, axes, path):
    for panel in axes:
        if not panel.get_legend():
            panel.legend()
        panel.grid(alpha=0.3)
    save(figure, path)
    return True
