"""The pictures of notebook 02."""
import math

import numpy as np

from ..exact import Random
from ..measure.plotting import new_figure
from ..nn import ops


def norm_and_gradient(x=(3.0, 4.0), g=(1.0, 0.0)):
    """A norm in the plane: x, its normed y on the circle, the wish g, and dx at a right angle to x."""
    out, vjp = ops.rms_norm.__wrapped__(np.reshape(x, (2, 1, 1)), np.ones(2), eps=0.0)
    y, dx = out.ravel(), vjp(np.reshape(g, (2, 1, 1)))[0].ravel()
    figure, [axes] = new_figure(size=(4.6, 4.4))
    angle = np.linspace(0, 2 * math.pi, 200)
    axes.plot(math.sqrt(2) * np.cos(angle), math.sqrt(2) * np.sin(angle), color="0.7", linewidth=1)
    arrows = (((0, 0), x, "0.6", "-", "x"), ((0, 0), y, "black", "-", "y"), (y, g, "black", "--", "g"),
              (x, 5 * dx, "black", ":", "dx (5 times)"))
    for start, vector, color, style, label in arrows:
        axes.annotate("", (start[0] + vector[0], start[1] + vector[1]), start,
                      arrowprops={"arrowstyle": "->", "color": color, "linestyle": style, "linewidth": 1.8})
        below = -0.35 if label == "y" else 0.05
        axes.text(start[0] + vector[0] + 0.1, start[1] + vector[1] + below, label, fontsize=11)
    axes.set(xlim=(-1.7, 6.7), ylim=(-1.7, 4.9), aspect="equal", xlabel="feature 0", ylabel="feature 1")
    axes.grid(alpha=0.3)
    return figure


def the_tape(cards):
    """The tape as numbered cards, walked down forward and up backward. cards: (what ran, what it gave, the
    gradients that are known once this card was taken), as texts, in the order in which they ran."""
    figure, [axes] = new_figure(size=(7, 0.75 * len(cards) + 1.1))
    for i, (name, text, known) in enumerate(cards):
        y = len(cards) - i
        axes.text(0.2, y, f"{i + 1}", fontsize=12, ha="center", va="center",
                  bbox={"boxstyle": "circle", "fc": "0.9"})
        axes.text(0.6, y, name, fontsize=12, va="center", family="monospace")
        axes.text(2.6, y, text, fontsize=11, va="center")
        axes.text(5.0, y, known, fontsize=11, va="center", family="monospace",
                  bbox={"fc": "white", "ec": "0.6", "boxstyle": "round"})
    top = len(cards) + 0.3
    for x, start, end, label in ((2.2, top, 0.6, "forward"), (4.6, 0.6, top, "backward")):
        axes.annotate("", (x, end), (x, start), arrowprops={"arrowstyle": "->", "linewidth": 1.5})
        axes.text(x + 0.1, len(cards) + 0.55, label, ha="right")
    axes.text(5.0, len(cards) + 0.55, "gradients, after this card was taken")
    axes.set(xlim=(0, 8.2), ylim=(0.3, len(cards) + 1))
    axes.axis("off")
    return figure


def error_by_step():
    """How far a numeric derivative is from the true one, over the step's size, in float64 and float32."""
    steps = 10.0 ** np.arange(-12, 0.1, 0.5)
    figure, [axes] = new_figure(size=(6.2, 3.5))
    for kind, color, label in ((np.float64, "black", "float64"), (np.float32, "0.55", "float32")):
        x = Random(0).standard_normal((200,)).astype(kind)
        slope = (1 - x * x) / ((1 + x * x) * (1 + x * x))                    # of x / (1 + x^2)
        errors = []
        for h in steps:
            h = kind(h)
            ahead, behind = (moved / (1 + moved * moved) for moved in (x + h, x - h))
            errors.append(np.median(np.abs((ahead - behind) / (2 * h) - slope)) / np.median(np.abs(slope)))
        axes.loglog(steps, np.maximum(errors, 1e-13), color=color, marker=".", label=label)
    axes.set(xlabel="step h", ylabel="relative error of the numeric derivative", ylim=(1e-12, 3))
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def two_losses(losses):
    """{label: losses}: of gradient descent, over the steps."""
    figure, [axes] = new_figure(size=(6, 3.2))
    for (label, values), style in zip(losses.items(), ("-", "--")):
        axes.plot(range(len(values)), values, color="black", linestyle=style, label=label)
    axes.set(xlabel="step", ylabel="mean squared error", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    return figure
