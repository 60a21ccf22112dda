"""quantize_model: a model that was trained in floats, with few-bit weights.

    quantized = minibitnet.quantize_model(model, bits=4, method="gptq", calibration=texts)
    quantized.generate("The "), quantized.report

Two sentences that much-read pages leave out. Rounding the weights of a trained model to 1.58 bits is not
BitNet: BitNet's weights are ternary in every forward pass of training, and its floats learn to live with it.
After training nothing can learn any more, and at 1.58 bits little is left of the model: ``report`` says how
much.

    levels.py        the values that a weight may have: of 1, 1.58, 2 .. 8 bits, evenly spaced
    elimination.py   the linear algebra, in operations that round alike everywhere
    calibration.py   what the inputs of each matrix are like: largest magnitudes, and H = 2 X X^T
    smoothquant.py   [smoothquant] arXiv 2211.10438: outliers moved from the inputs to the weights
    gptq.py          [gptq] arXiv 2210.17323: column by column, the error made up for in the next ones
    quip.py          [quip] arXiv 2307.13304: rotated at random first
"""
import math
from collections.abc import Iterable
from numbers import Real
from typing import NamedTuple

import numpy as np

from ..errors import UserError, brief
from ..formats.packed import is_bitlinear
from ..language_model import FloatEngine, LanguageModel, alone
from ..nn import ops
from ..nn.autograd import Tensor
from ..nn.layers import Linear
from ..nn.model import Transformer
from ..quant import absmax_int8, dequantize
from . import levels
from .calibration import SHARED, Batch, inputs_of
from .gptq import DAMPING, damped, gptq
from .quip import quip
from .smoothquant import ALPHA, smooth

METHODS = "nearest", "absmax", "smoothquant", "gptq", "quip"
CALIBRATED = METHODS[2:]
ACTIVATIONS = None, 8, 4               # bits
ROWS = 8                               # texts at once


class Report(NamedTuple):
    """What quantizing did. Losses are nats a token of the text that was asked about; bytes count matrices
    with their scales, and everything else in 16 bits."""
    method: str
    bits: float
    activation_bits: int | None
    loss_before: float
    loss_after: float
    bytes_before: int
    bytes_after: int

    def __str__(self):
        activations = f", activations of {self.activation_bits} bits" if self.activation_bits else ""
        loss = ("" if math.isnan(self.loss_before) else
                f"loss {self.loss_before:.3f} -> {self.loss_after:.3f} nats a token, ")
        return (f"{self.method}, {self.bits:g} bits{activations}: {loss}{self.bytes_before:,} -> "
                f"{self.bytes_after:,} bytes")


class Rounded(Linear):
    """A Linear whose inputs are rounded to so many bits, one scale a token ([bitnet] eqs. 4-5)."""

    def __init__(self, linear, bits):
        self.weight, self.largest_code = linear.weight, 2**(bits - 1) - 1

    def prepare_input(self, x):
        return ops.ready(Tensor(dequantize(*absmax_int8(x.data, Q_b=self.largest_code))))

    def __call__(self, x):                       # o and down bring floats; q, k and v share what is ready
        return super().__call__(self.prepare_input(x) if isinstance(x.data, np.ndarray) else x)


@alone
def quantize_model(model: LanguageModel, bits: float = 1.58, *, method: str = "", calibration=None, text=None,
                   activation_bits: int | None = None, group: int = 0, alpha: float = ALPHA,
                   damping: float = DAMPING, seed: int = 0) -> LanguageModel:
    """A copy of a float model whose projections have weights of 1, 1.58, 2, 3, 4 or 8 bits; its ``report``
    says what that costs. The model stays as it is.

    method: "nearest" rounds to the nearest level (round to nearest, RTN), the outermost one at the largest
    weight of a row, of 1 and 1.58 bits about the mean magnitude; "absmax" has the largest weight there, too;
    "smoothquant" moves outliers and then does what absmax does; it, "gptq" and "quip" look at what comes in
    first, on calibration, a text or a list of texts; by default "gptq" where there is a calibration, else
    "nearest". activation_bits: 8 or 4, or None for floats. group: so many inputs of a row share a scale
    (gptq; 0: all). alpha: of smoothquant, 0 to 1. damping: of gptq and quip. seed: of quip's rotation. text:
    whose loss the report gives, by default the calibration's.

    What activation_bits does is in no file: such a model cannot be saved, nor quantized again.
    """
    method = method or ("gptq" if calibration is not None else "nearest")
    calibration = None if calibration is None else texts_of(calibration, "calibration")
    text = calibration if text is None else texts_of(text, "text")
    check(model, bits, method, calibration, activation_bits)
    check_numbers(model.config, method, group, alpha, damping, seed)
    c, arrays = model.config, model.latent("quantize_model()")
    twin = Transformer(c)
    for name, array in twin.arrays().items():
        array[:] = arrays[name]
    batches = batches_of(model, calibration) if method in CALIBRATED else []
    for block in twin.layers:
        inputs = inputs_of(block, batches) if batches else {}
        if method == "smoothquant":
            attention, mlp = block.self_attn, block.mlp
            smooth(block.input_layernorm, [attention.q_proj, attention.k_proj, attention.v_proj],
                   inputs["q_proj"].largest, alpha)
            smooth(block.post_attention_layernorm, [mlp.gate_proj, mlp.up_proj],
                   inputs["gate_proj"].largest, alpha)
        for name, linears in by_input(block).items():
            H = inputs[name].H if method in ("gptq", "quip") else None
            # rows of gptq do not know of each other: those of one input at once, and H is inverted once
            for some in [linears] if method == "gptq" else [[linear] for linear in linears]:
                w = np.concatenate([linear.weight.data for linear in some])
                w = rounded(w, H, bits, method, group, damping, seed).astype(np.float32)
                ends = np.cumsum([len(linear.weight.data) for linear in some])
                for linear, rows in zip(some, np.split(w, ends[:-1])):
                    linear.weight.data = rows
        for part in (block.self_attn, block.mlp) if activation_bits else ():
            for name, linear in vars(part).items():
                if isinstance(linear, Linear):
                    setattr(part, name, Rounded(linear, activation_bits))
        batches = [b._replace(x=block(b.x, b.rotary)) for b in batches]
    quantized = QuantizedModel(FloatEngine(twin), model.tokenizer, model.settings, model.step, model.path)
    before, after = (math.nan, math.nan) if text is None else (loss_of(m, text) for m in (model, quantized))
    quantized.report = Report(method, bits, activation_bits, before, after, *bytes_of(c, bits, method, group))
    return quantized


class QuantizedModel(LanguageModel):
    """A LanguageModel with a ``report``. Of rounded activations files know nothing, so it is not saved."""
    report = None

    def save(self, *arguments, **options):
        """As of any model, unless its activations are rounded."""
        if self.report.activation_bits:
            raise UserError(f"save() of a model with {self.report.activation_bits}-bit activations, which no "
                            "file of a run can say: expected activation_bits=None")
        return super().save(*arguments, **options)


def check(model, bits, method, calibration, activation_bits):
    """UserError for what cannot be quantized so."""
    levels.checked(bits)
    if not isinstance(model, LanguageModel) or not isinstance(model.engine, FloatEngine):
        raise UserError(f"{brief(model)}: expected a model on the float engine (minibitnet.load, or fit)")
    if model.config.variant.has_codes:
        raise UserError(f"a model with linear = {model.config.linear!r}: its weights are quantized already; "
                        "expected one that was trained in floats (linear='float')")
    if method not in METHODS:
        raise UserError(f"method {method!r}: expected one of {', '.join(METHODS)}")
    if method in CALIBRATED and calibration is None:
        raise UserError(f"method {method!r} looks at the inputs first: expected a calibration, a text or a "
                        "list of texts like those that the model was trained on")
    if activation_bits is not None and not (type(activation_bits) is int and activation_bits in ACTIVATIONS):
        raise UserError(f"activation_bits = {brief(activation_bits)}: expected None, 8 or 4")
    if isinstance(model, QuantizedModel) and model.report.activation_bits:
        raise UserError("a model with rounded activations: expected the one that it was made of")


def check_numbers(c, method, group, alpha, damping, seed):
    """UserError for numbers that mean nothing here."""
    if type(group) is not int or not 0 <= group <= max(c.d_model, c.d_ffn):
        raise UserError(f"group = {brief(group)}: expected a whole number of inputs, 0 for all")
    if group and method != "gptq":
        raise UserError(f"group = {group} with method {method!r}: expected it of gptq alone")
    if type(seed) is not int or seed < 0:
        raise UserError(f"seed = {brief(seed)}: expected a whole number from 0 on")
    for name, number, most in (("alpha", alpha, 1), ("damping", damping, 1e6)):
        if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= number <= most:
            raise UserError(f"{name} = {brief(number)}: expected a number from 0 to {most:g}")


def by_input(block):
    """{name of the first that reads it: [Linear, ...]} of each input in a Block."""
    found = {}
    for part in (block.self_attn, block.mlp):
        for name, linear in vars(part).items():
            if isinstance(linear, Linear):
                found.setdefault(SHARED.get(name, name), []).append(linear)
    return found


def rounded(w, H, bits, method, group, damping, seed):
    """One matrix (n, m) -> what its codes stand for."""
    if method == "gptq":
        return gptq(w, damped(H, damping), lambda columns: levels.between(columns, bits), group)
    if method == "quip":
        return quip(w, damped(H, damping), bits, seed)
    of_few = bits < 2 and method == "nearest"
    return (levels.about_mean if of_few else levels.symmetric)(w, bits).nearest(w)


def texts_of(texts, what):
    """A text or several texts -> a list; what: for messages."""
    given = [texts] if isinstance(texts, str) else list(texts) if isinstance(texts, Iterable) else []
    if not given or not all(isinstance(text, str) and text for text in given):
        raise UserError(f"{what} {brief(texts)}: expected a text or a list of texts, none empty")
    return given


def rows_of(model, texts):
    """The texts as token ids, each a document of its own, or cut where it exceeds the context."""
    rows, longest = [], model.config.context + 1
    for text in texts:
        ids = np.append(model.encode(text), model.ends[:1]).astype(np.int64)
        rows += [ids[i:i + longest] for i in range(0, len(ids) - 1, longest - 1)]
    if not rows:
        raise UserError("texts of one token: expected at least two, for the first one has nothing before it")
    return rows


def padded(rows):
    """Rows of ids -> ids (B, T), targets (B, T), -1 where there is none."""
    width = max(map(len, rows)) - 1
    ids, targets = np.zeros((len(rows), width), np.int64), np.full((len(rows), width), -1)
    for row, i, t in zip(rows, ids, targets):
        i[:len(row) - 1], t[:len(row) - 1] = row[:-1], row[1:]
    return ids, targets


def in_batches(model, texts):
    """(ids, targets) of the texts, ROWS at once."""
    rows = rows_of(model, texts)
    return [padded(rows[i:i + ROWS]) for i in range(0, len(rows), ROWS)]


def batches_of(model, texts):
    """The texts as what goes into the first block."""
    transformer = model.engine.transformer
    return [Batch(transformer.embed_tokens(ids),
                  ops.rotary_of(transformer.rotary, slice(0, ids.shape[1]), len(ids)), targets >= 0)
            for ids, targets in in_batches(model, texts)]


def loss_of(model, texts):
    """Nats a token."""
    nats = np.concatenate([model.losses(ids, targets) for ids, targets in in_batches(model, texts)])
    return math.fsum(nats.tolist()) / len(nats)


def bytes_of(c, bits, method, group):
    """A float model's bytes in 16 bits, and quantized: codes (1.58 bits are stored in 2), 16-bit scales, of
    gptq also a zero for each, of quip one scale and the inputs' scales."""
    before = after = 0
    for name, shape in c.tensor_shapes().items():
        if shape is None:
            continue
        size = math.prod(shape)
        before += 2 * size
        if not is_bitlinear(name):
            after += 2 * size
            continue
        n, m = shape
        of_gptq = n * (-(-m // group) if group else 1) * (1 if bits < 2 else 2)          # and zeros
        scales = {"gptq": of_gptq, "quip": 1 + m}.get(method, n)
        after += -(-size * math.ceil(bits) // 8) + 2 * scales
    return before, after
