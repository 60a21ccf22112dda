"""The pictures of notebook 06: what a story costs, letter by letter, for its source and for a model; losses
over their floors; a schedule, and what it does."""
import numpy as np

from ..measure.plotting import new_figure
from ..stories import entropy

FLOOR = {"color": "black", "linestyle": "--", "linewidth": 1}
STYLES = ({"color": "black"}, {"color": "0.5", "linestyle": (0, (5, 1.5))},
          {"color": "0.65", "linestyle": ":", "linewidth": 2.4})


def source_costs(text, language):
    """Nats of each character, for the source itself."""
    return np.diff([entropy.prefix_nats(text[:i], language) for i in range(len(text) + 1)])


def story_costs(text, language):
    """A story, its letters the darker the more they cost, over the nats that are paid."""
    costs = source_costs(text, language)
    figure, [axes] = new_figure(size=(9.6, 3.2))
    paid, top = np.cumsum(costs), 1.32 * costs.sum()
    x, stairs = np.arange(len(text) + 1) - 0.5, np.concatenate([[0], paid])
    axes.fill_between(x, stairs, step="pre", color="0.8", linewidth=0)
    axes.step(x, stairs, where="pre", color="black", linewidth=1.5)
    axes.axhline(paid[-1], **FLOOR)
    axes.text(len(text) - 1, 0.5 * paid[-1], "paid so far", ha="right", fontsize=10)
    axes.text(5.5, 0.8 * paid[-1], "still to pay", fontsize=10)
    for i, (letter, cost) in enumerate(zip(text, costs)):
        shade = cost / 2.4
        axes.axvspan(i - 0.5, i + 0.5, 1.1 / 1.32, 1.26 / 1.32, facecolor=str(1 - shade), edgecolor="none")
        axes.text(i, 1.18 * paid[-1], letter, ha="center", va="center", family="monospace", fontsize=11,
                  color="white" if shade > 0.5 else "black")
        if cost > 0.01:
            axes.annotate(f"{cost:.2f}", (i, paid[i]), (3, -3), textcoords="offset points", va="top",
                          fontsize=8.5)
    axes.set(xlim=(-0.5, len(text) - 0.5), ylim=(0, top), ylabel="nats", xlabel="character of the story",
             yticks=range(int(paid[-1]) + 1))
    return figure


def along(text, costs):
    """{name: nats of each character}: what is paid up to each; the first is the source."""
    figure, [axes] = new_figure(size=(9.6, 3.6))
    ends = [each.sum() for each in costs.values()]
    for (name, each), style in zip(costs.items(), STYLES):
        style = style if name == next(iter(costs)) else {"color": "0.5", "linewidth": 2.2}
        axes.step(range(len(text)), np.cumsum(each), where="mid", label=f"{name}: {each.sum():.2f}", **style)
    axes.annotate("", (len(text), ends[1]), (len(text), ends[0]), arrowprops={"arrowstyle": "<->"})
    axes.text(len(text) + 0.6, sum(ends) / 2, f"{ends[1] - ends[0]:.2f}\nexcess", va="center", fontsize=9)
    axes.set_xticks(range(len(text)), text.replace(" ", "␣"), family="monospace", fontsize=9)
    axes.set(xlim=(-1, len(text) + 4.5), ylim=(0, None), ylabel="nats paid so far")
    axes.legend(loc="lower right", title="the whole story, in nats")
    axes.grid(axis="y", alpha=0.3)
    return figure


def by_heart(training, validation, source, book):
    """Two (steps, nats a story), over the entropy of the source and that of the book."""
    figure, [axes] = new_figure(size=(6.6, 3.8))
    axes.plot(*training, color="0.6", linewidth=1, label="on the book's 30 stories, each batch")
    axes.plot(*validation, color="black", marker="o", markersize=4, label="on 200 fresh stories")
    axes.axhline(source, **FLOOR)
    axes.axhline(book, color="0.45", linestyle=":", linewidth=1.8)
    for y, name in ((source, "entropy of the language"), (book, "entropy of the book")):
        axes.text(4, 0.97 * y, f"{name}, {y:.2f}", va="top", fontsize=9)
    axes.set(xlabel="step", ylabel="nats a story", yscale="log", ylim=(2.5, 80))
    ticks = [3, 5, 10, 20, 40, 80]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.legend(loc="upper right")
    axes.grid(alpha=0.3)
    return figure


def schedule(rates, decays):
    """Learning rate and weight decay of every step."""
    figure, [axes] = new_figure(size=(6.6, 3.2))
    axes.plot(rates, color="black", label="learning rate (left)")
    axes.set(xlabel="step", ylabel="learning rate", ylim=(0, 1.3 * max(rates)))
    right = axes.twinx()
    right.plot(decays, color="0.5", linestyle="--", label="weight decay (right)")
    right.set(ylabel="weight decay", ylim=(0, 1.3 * max(decays)))
    lines = [*axes.get_lines(), *right.get_lines()]
    axes.legend(lines, [line.get_label() for line in lines], loc="upper right", ncols=2, fontsize=9)
    axes.grid(alpha=0.3)
    return figure


def schedules(runs, floor):
    """{name: (steps, nats a story, flip rate of every step)}: where they end, and how many codes change."""
    figure, panels = new_figure(panels=2, size=(4.8, 3.5))
    for (name, (steps, nats, flips)), style in zip(runs.items(), STYLES):
        panels[0].plot(steps, nats, marker="o", markersize=4, label=name, **style)
        mean = np.convolve(flips, np.ones(15) / 15, "valid")
        panels[1].plot(np.arange(len(mean)) + 8, 100 * mean, label=name, **style)
    panels[0].axhline(floor, label="the floor", **FLOOR)
    panels[0].set(xlabel="step", ylabel="nats a story", yscale="log", title="loss", ylim=(0.93 * floor, None))
    ticks = [5, 6, 8, 10, 15, 20]
    panels[0].set_yticks(ticks, [str(tick) for tick in ticks])
    panels[0].set_yticks([], minor=True)
    panels[0].legend(fontsize=9)
    panels[1].set(xlabel="step", ylabel="codes that flip in a step (%)", ylim=(0, None),
                  title="flips, mean of 15 steps")
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure


def long_run(training, validation, floor, marks, half):
    """Two (steps, nats a token) over the floor, with {name: nats} to compare, and the step of half time."""
    figure, [axes] = new_figure(size=(7.2, 4))
    axes.plot(*training, color="0.65", linewidth=1, label="training, every tenth step")
    axes.plot(*validation, color="black", marker="o", markersize=5, linewidth=1.2,
              label=f"validation, {validation[1][-1]:.3f} at the end")
    axes.axhline(floor, **FLOOR)
    end = max(training[0])
    axes.text(0, 0.97 * floor, f"the floor, {floor:.3f}", fontsize=9, va="top")
    for name, nats in marks.items():
        axes.axhline(nats, color="0.4", linestyle=":", linewidth=1.2)
        axes.text(0.99 * end, 1.05 * nats, f"{name}, {nats:.3f}", fontsize=9, ha="right")
    axes.axvline(half, color="0.4", linestyle="-.", linewidth=1)
    axes.text(half + 0.01 * end, 0.7, "half time", fontsize=9)
    axes.set(xlabel="step", ylabel="nats a token", yscale="log", ylim=(0.8 * floor, 9))
    ticks = [0.2, 0.5, 1, 2, 5]
    axes.set_yticks(ticks, [str(tick) for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.85), fontsize=9)
    axes.grid(alpha=0.3)
    return figure
