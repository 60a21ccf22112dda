"""The variants of the model, ``linear``: one table, which its layers, sizes, files and engines read.

A further variant is a line here, its quantizer in ``quant.py``, and its layer in ``nn/layers.py`` with a
straight-through op in ``nn/ste.py``; one of your own, in a script or a notebook, is ``register_variant``.
"""
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .errors import UserError
from .exact import Random
from .quant import Quantized, absmean_ternary, sign_binary

RMS, LAYER = "RMSNorm with a gain", "LayerNorm without"


class Variant(NamedTuple):
    quantize: Callable | None     # the projections' weights -> (codes, scale); None: they stay floats
    codes: tuple                  # that they may become
    norm: str                     # before q, k, v and before gate, up
    sub_norm: str | None          # before o and before down; it belongs to the BitLinears
    lr: float                     # peak learning rate at width 128, about the best of a sweep (binary: 3, 4
                                  # and 6e-3 end within 0.005 of each other)

    @property
    def has_codes(self):
        """Do the projections' weights become codes, which can be packed?"""
        return self.quantize is not None


VARIANTS = {
    "ternary": Variant(absmean_ternary, (-1, 0, 1), RMS, RMS, lr=6e-3),        # BitNet b1.58
    "binary": Variant(sign_binary, (-1, 1), LAYER, LAYER, lr=6e-3),            # BitNet b1
    "float": Variant(None, (), RMS, None, lr=3e-3),                            # LLaMA, the papers' baseline
}
OWN = frozenset(VARIANTS)


def register_variant(name: str, quantize: Callable, *, like: str = "ternary",
                     lr: float | None = None) -> None:
    """Make ``linear=name`` a variant: the model of ``like`` with another quantizer of its weights.

    quantize: (n, m) float32 -> ``Quantized``(codes (n, m), whole numbers from -1 to 1 as float32; scale
    (1, 1), above 0), with value ≈ codes * scale; its gradient is the straight-through one. It is tried on a
    random matrix first. lr: the peak learning rate at width 128, by default that of ``like``. Registered
    again, a name means the newer quantizer; the project's own names cannot be taken. A run's files know the
    name alone: whoever loads them registers it first.
    """
    if name in OWN or not name.isidentifier():
        raise UserError(f"variant {name!r}: expected a new name, as of a Python variable")
    if like not in VARIANTS or VARIANTS[like].quantize is None:
        raise UserError(f"like = {like!r}: expected a variant whose weights are codes: "
                        f"{', '.join(n for n, v in VARIANTS.items() if v.quantize)}")
    w = Random(0).standard_normal((8, 12)).astype(np.float32)
    try:
        codes, scale = quantize(w)
        codes, scale = np.asarray(codes), np.asarray(scale)
    except (TypeError, ValueError) as e:
        raise UserError(f"quantize of a (8, 12) float32 matrix: {e}: expected (codes, scale)") from None
    if (codes.shape, scale.shape, codes.dtype) != (w.shape, (1, 1), w.dtype) or not (
            np.isin(codes, (-1, 0, 1)).all() and np.isfinite(scale).all() and scale > 0):
        raise UserError(f"quantize of a (8, 12) float32 matrix gave codes {codes.shape} {codes.dtype} from "
                        f"{codes.min():g} to {codes.max():g} and a scale {scale.shape}: expected codes -1, "
                        f"0, 1 of the same shape and type, and a scale (1, 1) above 0")
    lr = VARIANTS[like].lr if lr is None else lr
    VARIANTS[name] = VARIANTS[like]._replace(quantize=lambda w: Quantized(*quantize(w)), codes=(-1, 0, 1),
                                             lr=lr)
