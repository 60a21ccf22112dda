"""packed.safetensors: a model that only runs. Its ternary or binary matrices take two bits a weight.

    NAME.weight          of a BitLinear: uint8 (ceil(n/4), m), the bits of ``packing.py``
    NAME.weight_scale    float32 (1,), one positive number that multiplies the codes
    everything else      embeddings, head, gains of norms: float32, or float16 or bfloat16 if asked for

Names are those of Hugging Face's ``BitNetForCausalLM``: ours, with "model." before all but the head's.
Metadata: "format", "step" and "config" of the checkpoint it was made from. The same model with every matrix
in 16 bits (``save_dense``) is what the papers compare with.
"""
import json
from typing import NamedTuple

import numpy as np

from .. import packing
from ..errors import UserError
from ..float16 import BFLOAT16, all_finite, rounded
from ..variants import VARIANTS
from . import safetensors
from .checkpoint import config_in
from .safetensors import FormatError

FORMAT = "minibitnet packed 1"
DENSE = "minibitnet dense 1 (to compare its size; no engine runs it)"
FLOATS = {"float32": np.dtype(np.float32), "float16": np.dtype(np.float16), "bfloat16": BFLOAT16}


class PackedMatrix(NamedTuple):
    """A matrix (n, m) of codes, two bits each, and its scale."""
    packed: np.ndarray       # uint8 (ceil(n/4), m)
    n: int
    scale: np.float32


def packed_matrix(quantize, w, name):            # (n, m) floats -> PackedMatrix
    """The codes that a quantizer gives, in two bits each. FormatError, with a name, for floats without."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            codes, scale = quantize(w)
    except FloatingPointError:
        raise FormatError(f"{name} holds values that are not finite, or too large to add up") from None
    return PackedMatrix(packing.pack_ternary(codes), len(codes), np.float32(scale[0, 0]))


def as_stored(a, dtype, name):                   # float32, float16 or BFLOAT16 -> one of FLOATS
    """An array as a file keeps it; UserError, with its name, for numbers that dtype does not hold."""
    try:
        return rounded(a, FLOATS[dtype])
    except ValueError as e:
        raise UserError(f"{name}: {e}") from None


class PackedFile(NamedTuple):
    """What a packed model's file holds."""
    config: dict             # the run's, of which the model's is c
    step: int
    c: object
    matrices: dict           # {name: PackedMatrix}
    arrays: dict             # {name: array}


def pack(parameters, c):
    """Latent parameters {name: float32} of a model with configuration c ->
    ({name: PackedMatrix}, {name: float32})."""
    matrices, arrays = {}, {}
    for name, a in parameters.items():
        if is_bitlinear(name):
            matrices[name] = packed_matrix(c.variant.quantize, a, name)
        else:
            arrays[name] = a
    return matrices, arrays


def save(path, config, step, matrices, arrays, dtype="float32"):
    """Write a packed model atomically; step: of the checkpoint it comes from; dtype: of everything that is
    not packed."""
    tensors = {}
    for name, matrix in matrices.items():
        tensors[foreign(name)] = matrix.packed
        tensors[foreign(name) + "_scale"] = np.array([matrix.scale], np.float32)
    tensors |= {foreign(name): as_stored(a, dtype, name) for name, a in arrays.items()}
    safetensors.save(path, tensors, {"format": FORMAT, "step": str(step), "config": json.dumps(config)})


def save_dense(path, config, parameters, dtype="float16"):
    """Write every parameter as 16-bit floats: the size of the papers' baseline, which is all that the file is
    for."""
    safetensors.save(path, {foreign(name): as_stored(a, dtype, name) for name, a in parameters.items()},
                     {"format": DENSE, "config": json.dumps(config)})


def load(path, config_of):
    """Read a packed model -> PackedFile. config_of(config) makes the configuration c of its JSON. FormatError
    ("path: reason") for a file that is damaged, foreign, or not of this configuration."""
    tensors, metadata = safetensors.load(path)
    if metadata.get("format") != FORMAT:
        raise FormatError(f"{path}: its metadata has format {metadata.get('format')!r}: expected {FORMAT!r} "
                          "(python -m minibitnet.pack makes one)")
    try:
        config, step = config_in(metadata), int(metadata["step"])
    except (KeyError, ValueError, TypeError, RecursionError):
        raise FormatError(f"{path}: its metadata lacks a step or a config") from None
    c = config_of(config)
    if not c.variant.has_codes:
        expected = " or ".join(name for name, variant in VARIANTS.items() if variant.has_codes)
        raise FormatError(f"{path}: its config says linear = {c.linear!r}: expected {expected}, whose "
                          "weights are codes")
    matrices, arrays = {}, {}
    for name, shape in c.tensor_shapes().items():
        if is_bitlinear(name):
            packed = _take(tensors, foreign(name), (-(-shape[0] // 4), shape[1]), (np.uint8,), path)
            scale = _take(tensors, foreign(name) + "_scale", (1,), (np.float32,), path)[0]
            if not 0 < scale < np.inf:
                raise FormatError(f"{path}: {foreign(name)}_scale is {scale}: expected a positive number")
            try:                         # here with its name; whoever unpacks a matrix checks once more
                packing.check_packed(packed, shape[0], binary=0 not in c.variant.codes)
            except ValueError as e:
                raise FormatError(f"{path}: tensor {foreign(name)!r}: {e}") from None
            matrices[name] = PackedMatrix(packed, shape[0], scale)
        else:
            arrays[name] = _take(tensors, foreign(name), shape, FLOATS.values(), path)
            if not all_finite(arrays[name]):
                raise FormatError(f"{path}: tensor {foreign(name)!r} holds values that are not finite")
    if tensors:
        raise FormatError(f"{path}: tensor {min(tensors)!r} is not of this model")
    return PackedFile(config, step, c, matrices, arrays)


def _take(tensors, name, shape, dtypes, path):
    if name not in tensors:
        raise FormatError(f"{path}: tensor {name!r} is missing")
    a = tensors.pop(name)
    if a.dtype not in dtypes or a.shape != shape:
        raise FormatError(f"{path}: tensor {name!r} is {safetensors.NAMES[a.dtype]} {a.shape}: expected "
                          f"{' or '.join(safetensors.NAMES[np.dtype(d)] for d in dtypes)} {shape}")
    return a


def is_bitlinear(name):
    """Is this the weight of a BitLinear? Only projections are."""
    return name.endswith("_proj.weight")


def foreign(name):
    """Our parameter name -> Hugging Face's."""
    return name if name.startswith("lm_head.") else f"model.{name}"
