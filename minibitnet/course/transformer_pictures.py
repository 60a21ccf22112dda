"""The pictures of notebook 05: codes beside an outlier, clock hands, who sees whom, and what a trained head
looks at."""
import math

import numpy as np

from ..measure.plotting import new_figure


def outlier(codes):
    """{size of the outlier: (16,) codes} -> the codes of one token, its outlier last."""
    figure, panels = new_figure(panels=len(codes), size=(3.2, 2.9))
    for axes, (size, values) in zip(panels, codes.items()):
        places = np.arange(1, len(values) + 1)
        axes.bar(places, values, color="0.45")
        axes.plot(places[values == 0], values[values == 0], "ko", markersize=4)
        axes.set(title=f"feature 16 is {size} times the next", xlabel="feature", ylim=(-135, 135),
                 yticks=[-127, 0, 127], xticks=[1, 8, 16])
        axes.title.set_fontsize(10)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.text(0.5, 112, f"zeros: {(values == 0).sum()}", fontsize=9)
    panels[0].set_ylabel("code")
    return figure


def clocks(speeds, context, positions=8):
    """A face for each pair of a head, with hands at the first positions; below, how long a turn takes."""
    figure, [axes] = new_figure(size=(8.2, 4.8))
    axes.remove()
    above, below = figure.add_gridspec(2, 1, height_ratios=[1.25, 1])
    faces, axes = figure.add_subplot(above), figure.add_subplot(below)
    columns, turn = len(speeds) // 2, np.linspace(0, 2 * math.pi, 100)
    for i, speed in enumerate(speeds):
        x, y = 2.3 * (i % columns), -2.75 * (i // columns)
        faces.plot(x + np.cos(turn), y + np.sin(turn), color="0.6", linewidth=0.8)
        for p in range(positions):
            angle = p * speed
            faces.plot([x, x + 0.95 * math.cos(angle)], [y, y + 0.95 * math.sin(angle)],
                       color=str(0.8 - 0.8 * p / (positions - 1)), linewidth=1.3)
        faces.text(x, y + 1.1, f"pair {i}", ha="center", fontsize=8)
    faces.set(aspect="equal", title=f"hands at positions 0 (light) to {positions - 1} (black)")
    faces.title.set_fontsize(10)
    faces.axis("off")
    axes.plot(range(len(speeds)), 2 * math.pi / np.asarray(speeds), color="black", marker="o", markersize=4)
    axes.axhline(context, color="0.4", linestyle="--", linewidth=1)
    axes.text(0, 1.25 * context, f"context: {context} tokens", fontsize=9)
    axes.set(yscale="log", xlabel="pair", ylabel="tokens a turn")
    axes.grid(alpha=0.3)
    return figure


def attention_map(weights, title="one head's weights"):
    """(queries, keys), as a trace has them, drawn as all columns are here: keys down, queries across. What a
    query must not see is hatched."""
    figure, [axes] = new_figure(size=(4.9, 4.2))
    T = len(weights)
    axes.set_facecolor("white")
    hidden = np.tri(T, k=-1, dtype=bool)                                 # (key, query): key after query
    image = axes.imshow(np.ma.array(weights.T, mask=hidden), cmap="Greys", vmin=0, vmax=1,
                        interpolation="nearest")
    for key, query in np.argwhere(hidden):
        axes.fill([query - 0.5, query + 0.5, query + 0.5, query - 0.5],
                  [key - 0.5, key - 0.5, key + 0.5, key + 0.5], facecolor="none", edgecolor="0.75",
                  hatch="////", linewidth=0)
    axes.set(title=title, xlabel="query (position)", ylabel="key (position)", xticks=range(0, T, 2),
             yticks=range(0, T, 2))
    figure.colorbar(image, ax=axes, shrink=0.85, label="weight; hatched: hidden")
    return figure


def changed(rows, token):
    """{name of an intermediate: (T,) did it change?} -> a table, after one token was exchanged."""
    names, table = list(rows), np.array(list(rows.values()))
    figure, [axes] = new_figure(size=(6.2, 0.22 * len(names) + 0.9))
    axes.imshow(table, cmap="Greys", vmin=0, vmax=1.6, aspect="auto", interpolation="nearest")
    axes.set_yticks(range(len(names)), names, fontsize=8, family="monospace")
    axes.set(xlabel="position", title=f"dark: changed, because token {token} did",
             xticks=range(table.shape[1]))
    axes.set_xticks(np.arange(table.shape[1] - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    return figure


def order_without_rotation():
    """How two layers tell what is first, where nothing turns: a token, and what it has seen so far."""
    figure, panels = new_figure(panels=2, size=(4.6, 3.5))
    for axes, words in zip(panels, ("abc", "bac")):
        def box(x, y, text, differs, axes=axes):
            axes.text(x, y, text, ha="center", va="center", fontsize=10,
                      bbox={"boxstyle": "round", "facecolor": "#f1a340" if differs else "white"})
        for x, word in enumerate(words):
            box(x, 0, word, x < 2)
            box(x, 1, f"{word} saw\n{' '.join(sorted(words[:x + 1]))}", x < 2)
            for source in range(x + 1):
                axes.annotate("", (x, 0.78), (source, 0.17), arrowprops={"arrowstyle": "->", "color": "0.5"})
            axes.annotate("", (2, 1.75), (x, 1.24), arrowprops={"arrowstyle": "->", "color": "0.5"})
        first, second, third = words
        box(1.6, 2.05, f"{third} saw “{first} saw {first}”\nand “{second} saw a b”", True)
        axes.set(title=f"the text {' '.join(words)}", xlim=(-0.6, 2.8), ylim=(-0.4, 2.5), xticks=range(3),
                 xlabel="position")
        axes.title.set_fontsize(10)
        axes.set_yticks([0, 1, 2.05], ["tokens", "after\nlayer 1", "after\nlayer 2"])
        for side in axes.spines.values():
            side.set_visible(False)
        axes.tick_params(length=0)
    return figure


def loudness(before, after):
    """(T,) sizes of attention's output by position, before and after the sub-norm."""
    figure, [axes] = new_figure(size=(6, 3.1))
    axes.plot(before, color="black", label="attention's output")
    axes.plot(after, color="0.5", linestyle="--", label="after the sub-norm")
    axes.plot(before[0] / np.sqrt(np.arange(1, len(before) + 1)), color="0.5", linewidth=1, linestyle=":",
              label="1 / √(tokens seen)")
    axes.set(xlabel="position", ylabel="root mean square", ylim=(0, 1.15))
    axes.legend(fontsize=9, loc="center right")
    axes.grid(alpha=0.3)
    return figure


def arcs(tokens, rows, query, marked, title=""):
    """{label: (T,) weights of one query's head} -> a row of text for each, with an arc to every key, as wide
    as its weight. marked: a slice of tokens in grey."""
    figure, [axes] = new_figure(size=(9.4, 1.15 * len(rows) + 0.4))
    half = np.linspace(0, math.pi, 40)
    for i, (label, weights) in enumerate(rows.items()):
        y = -11.5 * i
        axes.fill_between([marked.start - 0.5, marked.stop - 0.5], y - 1.3, y + 1.5, color="0.82")
        for key, token in enumerate(tokens[:query + 1]):
            axes.text(key, y, token, ha="center", va="center", fontsize=9.5, family="monospace")
            if weights[key] >= 0.02:
                middle, radius = (key + query) / 2, max((query - key) / 2, 0.4)
                axes.plot(middle + radius * np.cos(half), y + 1.6 + 7.2 * (radius / 30) ** 0.5 * np.sin(half),
                          color="black", linewidth=9 * weights[key], alpha=0.75, solid_capstyle="butt")
        axes.text(-1.5, y, label, ha="right", va="center", fontsize=9)
        share = weights[marked].sum()
        axes.text(query + 1.4, y, f"{share:.0%} on grey", va="center", fontsize=9)
    axes.set(xlim=(-10, query + 9), ylim=(-11.5 * (len(rows) - 1) - 2, 10.5), title=title)
    axes.title.set_fontsize(10)
    axes.axis("off")
    return figure


def cache_and_weights(models):
    """{title: (bytes of the weights by name, bytes of a token in the cache by name)}, over the length of the
    text."""
    figure, panels = new_figure(panels=len(models), size=(4.7, 3.6))
    tokens = np.geomspace(1, 1e6, 50)
    for axes, (title, (weights, caches)) in zip(panels, models.items()):
        for (name, size), style in zip(weights.items(), ("--", ":")):
            axes.axhline(size, color="black", linestyle=style, label=name)
        least = min(weights.values())
        for (name, size), color, beside in zip(caches.items(), ("black", "0.55"), ((-4, 5), (5, -13))):
            axes.plot(tokens, size * tokens, color=color, label=name)
            axes.plot([least / size], [least], marker="o", color=color)
            axes.annotate(f"{least / size:,.0f}", (least / size, least), beside, fontsize=9,
                          textcoords="offset points", ha="right" if beside[0] < 0 else "left")
        axes.set(title=title, xscale="log", yscale="log", xlabel="tokens in the cache", ylabel="bytes")
        axes.title.set_fontsize(10)
        axes.legend(fontsize=8, loc="lower right")
        axes.grid(alpha=0.3)
    return figure
