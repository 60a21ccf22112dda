"""The pictures of notebook 03: a staircase and its slopes, the teacher game, one weight, a row of codes."""
import numpy as np

from ..drawing import CODES
from ..exact import Random
from ..measure.plotting import new_figure

STYLES = {"straight-through": {"color": "black", "linestyle": "-"},
          "honest": {"color": "0.45", "linestyle": "--"},
          "none": {"color": "0.6", "linestyle": ":", "linewidth": 2.2}}


def staircase():
    """Rounding to three codes, its true slope, and the one that is handed on."""
    figure, panels = new_figure(panels=3, size=(3.1, 3.1))
    ends, steps = [-2, -0.5, -0.5, 0.5, 0.5, 2], [-1, -1, 0, 0, 1, 1]
    panels[0].plot(ends, steps, color="black", linewidth=2)
    panels[0].set(title="the code", ylabel="code", yticks=[-1, 0, 1])
    panels[1].plot([-2, 2], [0, 0], color="black", linewidth=2)
    for jump in (-0.5, 0.5):
        panels[1].annotate("", (jump, 1.4), (jump, 0.02),
                           arrowprops={"arrowstyle": "->", "linewidth": 1.5, "linestyle": "--"})
    panels[1].text(-1.9, 1.35, "a jump has\nno slope", va="top", fontsize=9)
    panels[1].set(title="its true slope: 0", ylabel="slope", yticks=[0, 1])
    panels[2].plot([-2, 2], [1, 1], color="black", linewidth=2)
    panels[2].set(title="the slope that is used: 1", yticks=[0, 1])
    for axes in panels:
        axes.set(xlabel="latent weight / scale", ylim=(-1.4, 1.5) if axes is panels[0] else (-0.4, 1.5),
                 xticks=[-2, -0.5, 0, 0.5, 2])
        axes.set_xticklabels(["−2", "−½", "0", "½", "2"])
        axes.grid(alpha=0.3)
    return figure


def game(records):
    """{gradient's name: [(loss, scale, codes) of each step]} -> loss and scale by step."""
    figure, panels = new_figure(panels=2, size=(4.6, 3.4))
    for name, record in records.items():
        losses, scales, _ = zip(*record)
        panels[0].plot(losses, label=name, **STYLES[name])
        panels[1].plot(scales, label=name, **STYLES[name])
    panels[0].set(xlabel="step", ylabel="mean squared error", yscale="log", title="loss")
    panels[1].set(xlabel="step", ylabel="scale of the student's codes", title="scale (the teacher's is 1)")
    panels[1].axhline(1, color="0.7", linewidth=0.8)
    panels[0].legend(title="gradient", loc="center right", fontsize=9)
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure


def game_codes(record, teacher, steps=(0, 5, 10, 20)):
    """The student's codes at some steps, beside the teacher's."""
    figure, panels = new_figure(panels=len(steps) + 1, size=(2.1, 1.75))
    for axes, s in zip(panels, steps):
        codes = record[s][2]
        axes.imshow(codes, interpolation="nearest", **CODES)
        axes.set_title(f"step {s}: {np.count_nonzero(codes == teacher)} right", fontsize=10)
    panels[-1].imshow(teacher, interpolation="nearest", **CODES)
    panels[-1].set_title(f"teacher: {teacher.size}", fontsize=10)
    for axes in panels:
        axes.set(xticks=[], yticks=[], xlabel="input")
    panels[0].set_ylabel("output")
    return figure


def one_weight(ws, codes, target, steps=80):
    """A latent weight, its codes, and their running mean."""
    figure, [axes] = new_figure(size=(8, 3.4))
    first = codes.index(1)
    mean = np.cumsum(codes[first:steps]) / np.arange(1, steps - first + 1)
    axes.bar(range(steps), codes[:steps], width=0.9, color="0.85", label="code q")
    axes.plot(ws[:steps], color="black", label="latent weight w")
    axes.plot(range(first + 4, steps), mean[4:], color="0.4", linestyle="--",
              label=f"mean of q since step {first}")
    axes.axhline(0.5, color="black", linestyle=":", linewidth=1)
    axes.axhline(target, color="0.4", linewidth=0.8)
    axes.text(1, 0.515, "threshold 0.5", fontsize=9, va="bottom")
    axes.text(steps - 1, target - 0.02, f"target {target}", fontsize=9, va="top", ha="right",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set(xlabel="step", ylabel="value", xlim=(-1, steps), ylim=(0, 1.28))
    axes.legend(ncols=3, loc="upper center", fontsize=9, frameon=False)
    return figure


def row_of_codes(codes, flips):
    """The codes of one row of a matrix over the steps of a training (steps, m), and the share that flips."""
    figure, panels = new_figure(panels=2, size=(4.8, 3.4))
    panels[0].imshow(codes.T, aspect="auto", interpolation="nearest", **CODES)
    panels[0].set(xlabel="step", ylabel="weight of the row", title="codes: orange −1, white 0, purple +1")
    panels[0].title.set_fontsize(10)
    panels[1].plot(range(1, len(flips) + 1), [100 * share for share in flips], color="black", linewidth=1)
    panels[1].set(xlabel="step", ylabel="codes that flipped in the step (%)", ylim=(0, None))
    panels[1].set_title("of all matrices", fontsize=10)
    panels[1].grid(alpha=0.3)
    return figure


def dithered():
    """Means of 1, 4 and 64 staircases, each moved by a draw of its own."""
    figure, panels = new_figure(panels=3, size=(3.1, 2.9))
    rng, w = Random(3), np.linspace(-2, 2, 801)
    for axes, n in zip(panels, (1, 4, 64)):
        stairs = [np.clip(np.rint(w + u), -1, 1) for u in rng.random(n) - 0.5]
        axes.plot(w, np.clip(w, -1, 1), color="0.65", linestyle="--", linewidth=1.5)
        axes.plot(w, sum(stairs) / n, color="black", linewidth=1.5)
        axes.set(title=f"{n} draw{'s' * (n > 1)} of noise", xlabel="latent weight / scale", yticks=[-1, 0, 1])
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("mean code")
    return figure


def latent_places(before, after):
    """Where latent weights lie, in units of their matrix's scale, before and after training."""
    figure, panels = new_figure(panels=2, size=(4.4, 3.1))
    for axes, places, title in ((panels[0], before, "before training"), (panels[1], after, "after it")):
        axes.hist(places, bins=np.linspace(-4, 4, 161), color="0.6")
        for threshold in (-0.5, 0.5):
            axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
        axes.set(title=title, xlabel="latent weight / scale", xlim=(-4, 4))
    top = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(0, 1.12 * top)
        for place, code in ((-2, "−1"), (0, "0"), (2, "+1")):
            axes.text(place, 1.05 * top, code, ha="center", va="center")
    panels[0].set_ylabel("weights")
    return figure
