"""The variants of the model, ``linear``: one table, which its layers, sizes, files and engines read.

A further variant is a line here, its quantizer in ``quant.py``, and its layer in ``nn/layers.py`` with a
straight-through op in ``nn/ste.py``.
"""
from collections.abc import Callable
from typing import NamedTuple

from .quant import absmean_ternary, sign_binary

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
