"""The variants of the model, ``linear``: one table, which its layers, sizes, files and engines read.

A further variant is a line here, its quantizer in ``quant.py``, and its layer in ``nn/layers.py`` with a
straight-through op in ``nn/ste.py``; one of your own, in a script or a notebook, is ``register_variant``.
"""
import math
from collections.abc import Callable
from numbers import Real
from typing import NamedTuple

import numpy as np

from .errors import UserError, brief
from .exact import Random
from .quant import Quantized, absmax_int8, absmean_int4, absmean_ternary, sign_binary, sparse_int8

RMS, LAYER = "RMSNorm with a gain", "LayerNorm without"


class Reads(NamedTuple):
    """How a BitLinear quantizes what it reads, each token on its own."""
    quantize: Callable = absmax_int8       # activations -> (codes, scale)
    bits: int = 8                          # that the codes take
    rotated: bool = False                  # behind a Hadamard transformation


EIGHT_BITS, FOUR_BITS, ROTATED = Reads(), Reads(absmean_int4, 4), Reads(absmean_int4, 4, rotated=True)


class Variant(NamedTuple):
    quantize: Callable | None     # the projections' weights -> (codes, scale); None: they stay floats
    codes: tuple                  # that they may become
    norm: str                     # before q, k, v and before gate, up
    sub_norm: str | None          # before o and before down; it belongs to the BitLinears
    lr: float                     # peak learning rate at width 128, about the best of a sweep (binary: 3, 4
                                  # and 6e-3 end within 0.005 of each other)
    inputs: Reads = EIGHT_BITS    # of q, k, v and of gate, up
    o: Reads = EIGHT_BITS
    down: Reads = EIGHT_BITS

    @property
    def has_codes(self):
        """Do the projections' weights become codes, which can be packed?"""
        return self.quantize is not None

    @property
    def reads(self):
        """What its BitLinears read, by place."""
        return self.inputs, self.o, self.down


VARIANTS = {
    "ternary": Variant(absmean_ternary, (-1, 0, 1), RMS, RMS, lr=6e-3),        # BitNet b1.58
    "binary": Variant(sign_binary, (-1, 1), LAYER, LAYER, lr=6e-3),            # BitNet b1
    "float": Variant(None, (), RMS, None, lr=3e-3),                            # LLaMA, the papers' baseline
    "ternary_llama": Variant(absmean_ternary, (-1, 0, 1), RMS, None, lr=6e-3),        # without sub-norms
    # BitNet a4.8: half of what o reads is 0. [a48] §2.1 (with activation = "relu2" of ModelConfig, its eq. 5)
    "a48": Variant(absmean_ternary, (-1, 0, 1), RMS, RMS, 6e-3, FOUR_BITS, Reads(sparse_int8)),
    # BitNet v2: o and down read 4 bits as well, behind a Hadamard transformation. [v2] eq. 7
    "v2": Variant(absmean_ternary, (-1, 0, 1), RMS, RMS, 6e-3, FOUR_BITS, ROTATED, ROTATED),
}
OWN = frozenset(VARIANTS)


def register_variant(name: str, quantize: Callable, *, like: str = "ternary",
                     lr: float | None = None) -> None:
    """Make ``linear=name`` a variant: the model of ``like`` with another quantizer of its weights, and one
    scale for the activations of each token.

        def threshold(w):                        # Ternary Weight Networks, arXiv 1605.04711
            large = np.abs(w) > 0.7 * np.abs(w).mean()
            return np.sign(w) * large, np.abs(w[large]).mean()
        minibitnet.register_variant("twn", threshold)
        model, tokenizer, history = minibitnet.fit(text, linear="twn")
        minibitnet.vjp_error(minibitnet.straight_through(threshold), w)        # about 1: a chosen gradient

    quantize: w (n, m) -> (codes (n, m) of -1, 0 and 1; scale, one number above 0), value ≈ codes * scale. Its
    gradient is the straight-through one. What it gives is checked, of a random matrix now and at every call:
    UserError. (Sums and functions of NumPy's own, as above, may differ in a last bit from machine to machine;
    ``exact.py`` has others.) lr: the peak learning rate at width 128, by default that of ``like``.

    Registered again, a name means the newer quantizer; the project's own names cannot be taken. A run's files
    know the name alone: whoever loads them registers it first.
    """
    if not isinstance(name, str) or name in OWN or not name.isidentifier():
        raise UserError(f"variant {name!r}: expected a new name, as of a Python variable")
    if not callable(quantize):
        raise UserError(f"quantize = {brief(quantize)}: expected a function of the weights")
    if lr is not None and (isinstance(lr, bool) or not isinstance(lr, Real) or not 0 < lr < math.inf):
        raise UserError(f"lr = {brief(lr)}: expected a number above 0")
    if like not in VARIANTS or not VARIANTS[like].has_codes:
        raise UserError(f"like = {like!r}: expected a variant whose weights are codes: "
                        f"{', '.join(n for n, v in VARIANTS.items() if v.has_codes)}")
    own = checked(name, quantize)
    own(Random(0).standard_normal((8, 12)).astype(np.float32))
    VARIANTS[name] = VARIANTS[like]._replace(quantize=own, codes=(-1, 0, 1),
                                             lr=VARIANTS[like].lr if lr is None else lr)


def checked(name, quantize):
    """A quantizer that gives what products and packing rely on, or is a UserError."""
    def own(w):                                  # (n, m) -> codes (n, m), scale (1, 1)
        view = w.view()                          # one that works in place would change the latent weights
        view.flags.writeable = False
        try:
            given = quantize(view)
        except ValueError as e:
            if "read-only" not in str(e):
                raise
            raise UserError(f"the quantizer of {name!r} changes the weights that it is given: expected codes "
                            "and a scale made anew") from None
        try:
            codes, scale = (np.asarray(part, w.dtype) for part in given)
        except (TypeError, ValueError):
            raise UserError(f"the quantizer of {name!r} gave {type(given).__name__}: expected (codes, scale)"
                            ) from None
        if not np.isfinite(w).all():
            raise FloatingPointError("a weight is not finite: expected numbers to quantize")
        if not (codes.shape == w.shape and scale.size == 1 and 0 < scale.item() < np.inf
                and np.array_equal(codes, np.clip(np.rint(codes), -1, 1))):
            shown = f"the scale {scale.item():g}" if scale.size == 1 else f"scales {scale.shape}"
            raise UserError(f"the quantizer of {name!r} gave, of weights {w.shape}, codes {codes.shape} from "
                            f"{codes.min():g} to {codes.max():g} and {shown}: expected codes -1, 0, 1 of the "
                            "same shape, and a scale that is one number above 0")
        return Quantized(codes, scale.reshape(1, 1))
    return own
