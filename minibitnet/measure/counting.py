"""Count the operations of a model while it runs: every arithmetic operation of NumPy's that it calls, by
component, kind and dtype.

``count(model, ids)`` runs an engine as it is, on arrays of a class that tells of each operation:

  - a product of matrices (n, m) x (m, N), by BLAS, ``vecdot`` or ``einsum``, counts n m N multiplications and
    n (m - 1) N additions ([bitnet] eqs. 16-17);
  - every other ufunc counts once for each number that it makes, a reduction or accumulation of k numbers
    k - 1 times; additions are ``add`` and ``subtract``. Bit-plane kernels therefore count their word
    operations: and, xor, popcount, shifts, of 8 to 64 bits each;
  - an index array, or ``take``, counts a lookup for each number that it fetches.

Not counted: copies, conversions between dtypes, ``packbits`` and ``unpackbits``, sorting, and Python's own
arithmetic with single numbers, which do not grow with the sizes. The dtype is that of the operands (the
wider one).

What puts operands on their grids (``exact.py``) is not counted with the products that it is for: it is a
component of its own, "rounding to grids". Only attention's weights are rounded in the middle of its sums
(``exact_attention.weighted_sums``), and count as attention.
"""
import contextlib
import copy
import sys
from collections import Counter
from dataclasses import is_dataclass

import numpy as np

from .. import exact, exact_attention, exact_functions, quant
from ..inference import cache, fixed_point, integer, kernels, packed_engine
from ..nn import ops
from ..nn.autograd import Tensor

KINDS = {
    "multiplications": ("multiply", "square"),
    "additions": ("add", "subtract"),
    "word operations": ("bitwise_and", "bitwise_or", "bitwise_xor", "invert", "left_shift", "right_shift",
                        "bitwise_count", "ldexp", "frexp"),
    "divisions and functions": ("divide", "floor_divide", "divmod", "remainder", "power", "sqrt", "exp",
                                "tanh", "log"),
    "comparisons": ("maximum", "minimum", "clip", "absolute", "negative", "sign", "rint", "floor",
                    "greater", "greater_equal", "less", "less_equal", "equal",
                    "not_equal", "logical_and", "logical_or", "isfinite"),
}
KIND = {ufunc: kind for kind, names in KINDS.items() for ufunc in names}
COMPONENTS = {  # of a model: the functions that its operations belong to, by what they call in turn as well
    "BitLinear": (ops.quantized_linear, packed_engine.PackedBitLinear.__call__, integer.bit_linear),
    "BitLinear, unpacking": (kernels.unpack,),
    "plain products": (ops.linear, ops.head, packed_engine.PackedModel.project, integer.IntegerModel.score),
    "attention": (ops.causal_attention, integer.attention),
    "quantizer": (quant.absmax_int8, integer.absmax_codes),
    "embedding": (ops.embedding,),
    "rounding to grids": (exact.operand, exact.on_grid, exact.on_one_grid, exact.fine,
                          exact_attention.shared_out),
}
COMPONENT = {function.__qualname__: name for name, functions in COMPONENTS.items() for function in functions}
# Whose new arrays must count as well:
MODULES = (exact, exact_attention, exact_functions, quant, ops, cache, kernels, packed_engine, fixed_point,
           integer)
_tallies = []                                    # of the ``count`` calls in progress, the innermost last


def count(model, *arguments):
    """Run model(*arguments) -> its result, and a Counter {(component, kind, dtype): operations}. Caches among
    the arguments stay as they are."""
    tally = Counter()
    with counting(tally):
        result = twin(model)(*map(twin, arguments))
    counts = isinstance(result, Counted) or isinstance(getattr(result, "data", None), Counted)
    assert counts, "the arrays stopped counting on the way"
    return plain(result.data if isinstance(result, Tensor) else result), tally


@contextlib.contextmanager
def counting(tally):
    """In this block the engines' modules make arrays that count."""
    table, numpy = fixed_point.EXP2_TABLE, CountingNumPy()
    _tallies.append(tally)
    fixed_point.EXP2_TABLE = counted(table)
    for module in MODULES:
        module.np = numpy
    try:
        yield
    finally:
        for module in MODULES:
            module.np = np
        fixed_point.EXP2_TABLE = table
        _tallies.pop()


class CountingNumPy:
    """numpy, but for new arrays: they count."""

    def __getattr__(self, name):
        made = getattr(np, name)
        return (lambda *a, **k: counted(made(*a, **k))) if name in ("empty", "zeros", "ones", "arange",
                                                                    "array", "asarray", "tri") else made


class Counted(np.ndarray):
    """An array that tells the innermost tally of each operation on it."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        arrays, plain_out = [plain(x) for x in inputs], tuple(plain(x) for x in out)
        result = getattr(ufunc, method)(*arrays, **({"out": plain_out} if out else {}), **options)
        tell_ufunc(ufunc, method, arrays, result, options.get("axis", 0))
        return out[0] if len(out) == 1 else counted(result)

    def __array_function__(self, function, types, arguments, options):
        if function is np.einsum:
            result = function(*(plain(a) for a in arguments), **options)
            tell_einsum(arguments[0], [np.asarray(a) for a in arguments[1:]], result)
            return counted(result)
        if function is np.searchsorted:
            result = function(*(plain(a) for a in arguments), **options)
            tell("lookups", arguments[1].dtype, np.size(result))
            return counted(result)
        return counted(super().__array_function__(function, types, arguments, options))

    def __getitem__(self, index):
        result = super().__getitem__(index)
        if any(isinstance(i, np.ndarray) for i in (index if isinstance(index, tuple) else (index,))):
            tell("lookups", self.dtype, np.size(result))
        return result

    def take(self, *arguments, **options):
        result = super().take(*arguments, **options)
        tell("lookups", self.dtype, np.size(result))
        return result


def tell(kind, dtype, n):
    """Add n operations of a kind and type to the innermost tally."""
    if n:
        _tallies[-1][component(), kind, np.dtype(dtype).name] += int(n)


def tell_ufunc(ufunc, method, arrays, result, axis=0):
    """Count a ufunc's call: a number made is an operation, but the first one along the axis that is
    accumulated is only copied, and a reduction makes one fewer than it reads."""
    dtype, results = np.result_type(*arrays), result if isinstance(result, tuple) else (result,)
    made = max(map(np.size, results))
    if method == "reduceat" or method == "reduce":
        tell(KIND[ufunc.__name__], dtype, np.size(arrays[0]) - made)
    elif method == "accumulate":
        tell(KIND[ufunc.__name__], dtype, made - made // arrays[0].shape[axis])
    elif ufunc.__name__ in ("matmul", "vecdot"):
        tell_products(dtype, made, arrays[0].shape[-1])
    else:
        tell(KIND[ufunc.__name__], dtype, made)


def tell_einsum(subscripts, arrays, result):
    """Every combination of indices is a product; those that share a place of the result are added."""
    sizes = {letter: n for letters, a in zip(subscripts.split("->")[0].split(","), arrays)
             for letter, n in zip(letters, a.shape)}
    tell_products(np.result_type(*arrays), result.size, np.prod(list(sizes.values())) // max(1, result.size))


def tell_products(dtype, made, summed):
    """Count ``made`` sums of ``summed`` products each."""
    tell("multiplications", dtype, made * summed)
    tell("additions", dtype, made * (summed - 1))


def component():
    """What is at work: the component of the innermost function on the stack that has one."""
    frame = sys._getframe(2)
    while frame:
        if frame.f_code.co_qualname in COMPONENT:
            return COMPONENT[frame.f_code.co_qualname]
        frame = frame.f_back
    return "the rest"


def counted(x):
    """The same array, which counts; a list or tuple of arrays likewise, and everything else as it is."""
    if isinstance(x, (list, tuple)):
        return rebuilt(x, map(counted, x))
    return x.view(Counted) if isinstance(x, np.ndarray) else x


def rebuilt(sequence, members):
    """A list, tuple or named tuple of the same kind, of these members."""
    return type(sequence)(*members) if hasattr(sequence, "_fields") else type(sequence)(members)


def plain(x):
    """The array that does not count."""
    return x.view(np.ndarray) if isinstance(x, Counted) else x


def twin(thing):
    """The same model on arrays that count: arrays, boxes of arrays, and the objects of ours that hold
    them."""
    if isinstance(thing, Tensor):
        return Tensor(counted(thing.data))
    if isinstance(thing, (list, tuple)):
        return rebuilt(thing, map(twin, thing))
    if not type(thing).__module__.startswith("minibitnet.") or is_dataclass(thing):
        return counted(thing)
    made = copy.copy(thing)
    for name, value in vars(thing).items():
        setattr(made, name, twin(value))
    return made
