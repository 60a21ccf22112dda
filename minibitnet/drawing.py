"""Pictures for a notebook: each function returns a matplotlib Figure, which a notebook shows.

    draw_loss(history)            training and validation loss, with the floor
    draw_weights(layer)           a BitLinear's latent weights and codes, side by side
    draw_histogram(layer)         its latent weights, with the thresholds between the codes
    draw_attention(trace, 0)      where each query of a layer looks, head by head
    draw_bytes(layer)             the first packed bytes of a layer, as fields of two bits
"""
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UserError, brief
from .looking import Layer
from .measure.plotting import new_figure, save
from .packing import pack_ternary

CODES = {"cmap": "PuOr", "vmin": -1.3, "vmax": 1.3}   # orange, white, purple: apart for all eyes


def draw_loss(history: Mapping[str, NDArray], floor: float | None = None) -> Any:
    """Loss over tokens, on a logarithmic axis: of training steps a line, of evaluations points. history: what
    ``fit`` gives, or any mapping with its arrays; floor: by default the history's."""
    floor = getattr(history, "floor", None) if floor is None else floor
    if floor is not None and not isinstance(floor, Real):
        raise UserError(f"floor = {brief(floor)}: expected a number of nats")
    if not isinstance(history, Mapping) or not {"tokens", "loss"} <= set(history):
        raise UserError(f"{brief(history)}: expected the history of a fit that logged a step at least")
    figure, [axes] = new_figure()
    millions = np.asarray(history["tokens"]) / 1e6
    there = ~np.isnan(history["val_loss"]) if "val_loss" in history else np.zeros(len(millions), bool)
    axes.set(xlabel="training tokens (millions)", ylabel="loss (nats per token)", xscale="log")
    axes.plot(millions, history["loss"], color="0.6", linewidth=1, label="training, one step")
    if there.any():
        losses = history["val_loss"][there]
        axes.plot(millions[there], losses, color="black", marker="o",
                  label=f"validation ({losses[-1]:.3f} at the end)")
    if floor is not None:
        axes.axhline(floor, color="black", linestyle="--", linewidth=1,
                     label=f"entropy of the source ({floor:.3f}): the floor")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def save_loss(history, path):
    """``draw_loss`` to a file -> is it drawn? A run's result needs no picture, so whatever is wrong with
    matplotlib ends nothing."""
    try:
        save(draw_loss(history), path)
    except Exception:                            # absent, or broken in a way of its own
        return False
    return True


def draw_weights(layer: Layer, rows: int = 64, columns: int = 64) -> Any:
    """The first rows (outputs) and columns (inputs) of a layer, latent and quantized."""
    need_latent(layer)
    for name, count in (("rows", rows), ("columns", columns)):
        check_count(name, count, np.inf)
    figure, panels = new_figure(panels=2, size=(4.6, 4.6))
    corner = slice(rows), slice(columns)
    latent = layer.latent[corner]
    limit = 3 * layer.scale
    for axes, values, title, limits in (
            (panels[0], latent, "latent weights", {"cmap": "PuOr", "vmin": -limit, "vmax": limit}),
            (panels[1], layer.codes[corner], f"codes: {layer.zeros:.0%} are 0", CODES)):
        image = axes.imshow(values, interpolation="nearest", **limits)
        axes.set(title=title, xlabel="input", ylabel="output")
        figure.colorbar(image, ax=axes, shrink=0.8, ticks=[-1, 0, 1] if limits is CODES else None)
    figure.suptitle(f"{layer.name}, scale {layer.scale:.4g}")
    return figure


def draw_histogram(layer: Layer) -> Any:
    """How a layer's latent weights are spread, and where one code ends and the next begins: halfway between
    their values, for rounding."""
    need_latent(layer)
    figure, [axes] = new_figure()
    w, codes = layer.latent.ravel(), layer.codes.ravel()
    axes.hist(w, bins=121, color="0.7")
    found = sorted(set(codes.tolist()))
    for low, high in zip(found, found[1:]):
        threshold = (w[codes == low].max() + w[codes == high].min()) / 2
        axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
    axes.margins(y=0.2)
    for code in found:
        share, middle = (codes == code).mean(), float(w[codes == code].mean())
        axes.annotate(f"{sign(code)}\n{share:.0%}", (middle, 1), (0, -4), textcoords="offset points",
                      xycoords=("data", "axes fraction"), ha="center", va="top")
    axes.set(title=f"{layer.name}: codes and their shares", xlabel="latent weight", ylabel="weights")
    return figure


def draw_attention(trace: Mapping[str, NDArray], layer: int = 0, tokens: list[str] | None = None) -> Any:
    """Attention's weights of one layer, a panel for each head: a row for each query. trace: of
    ``model.trace(ids)``; tokens: what to write at the axes."""
    if not isinstance(trace, Mapping):
        raise UserError(f"{brief(trace)}: expected what model.trace(ids) gives")
    name = f"layers.{layer}.self_attn.probabilities"
    if name not in trace:
        raise UserError(f"layer {brief(layer)}: expected one of the trace's, which has "
                        f"{sum(key.endswith('.probabilities') for key in trace)} with attention")
    heads = trace[name]
    if tokens is not None and len(tokens) != len(heads[0]):
        raise UserError(f"{len(tokens)} tokens at the axes: expected the trace's {len(heads[0])}")
    figure, panels = new_figure(panels=len(heads), size=(3, 3.7))
    for i, (axes, weights) in enumerate(zip(panels, heads)):
        axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
        axes.set(title=f"layer {layer}, head {i}", xlabel="key", ylabel="query" if i == 0 else "")
        if tokens is not None:
            axes.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=7)
            axes.set_yticks(range(len(tokens)), tokens if i == 0 else [""] * len(tokens), fontsize=7)
    return figure


def draw_bytes(layer: Layer, count: int = 8) -> Any:
    """The first bytes of a layer's packed codes: four fields of two bits each, 00 for -1, 01 for 0, 10 for +1
    (packing.py), the lowest bits on the right."""
    need_layer(layer)
    check_count("count", count, 64)
    figure, [axes] = new_figure(size=(6, 0.42 * count + 0.8))
    packed = pack_ternary(layer.codes.astype(np.float32))[:, 0][:count]
    fields = packed[:, None] >> np.array([6, 4, 2, 0]) & 3
    axes.imshow(fields.astype(int) - 1, aspect="auto", interpolation="nearest", **CODES)
    for i, byte in enumerate(packed):
        for j, field in enumerate(fields[i]):
            axes.text(j, i, f"{field:02b}   {sign(int(field) - 1)}", ha="center", va="center", fontsize=9,
                      color="black" if field == 1 else "white", family="monospace")
        axes.text(3.7, i, f"= {byte:3d}", va="center", fontsize=9, family="monospace")
    axes.set(title=f"{layer.name}: bytes of input 0", ylabel="byte", yticks=range(len(packed)))
    axes.set_xticks(range(4), ["bits 7, 6", "bits 5, 4", "bits 3, 2", "bits 1, 0"])
    return figure


def need_layer(layer):
    """UserError for what is no Layer."""
    if not isinstance(layer, Layer):
        raise UserError(f"{brief(layer)}: expected a layer, one of model.layers()")


def check_count(name, count, most):
    """UserError for what is no count from 1 to most."""
    if not (isinstance(count, Integral) and 1 <= count <= most):
        limit = f", at most {most}" * (most < np.inf)
        raise UserError(f"{name} = {brief(count)}: expected a count, at least 1{limit}")


def need_latent(layer):
    """UserError for a layer of a packed model, and for what is no Layer."""
    need_layer(layer)
    if layer.latent is None:
        raise UserError(f"{layer.name} is of a packed model, which has no latent weights: expected a layer "
                        "of the float engine (draw_bytes shows this one)")


def sign(code):
    """-1, 0, +1 as text."""
    return f"{code:+d}" if code else "0"
