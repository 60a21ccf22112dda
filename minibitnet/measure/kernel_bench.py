"""One product of a ternary matrix with 8-bit activations: the kernels that read 2 bits a weight, and
others."""
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import numpy as np

from ..inference.kernels import bit_planes, by_bit_planes, by_blas, by_lookup, table_indices
from ..packing import pack_ternary, unpack_ternary
from .timing import processes_take_turns, ratio, streamed


def dense(w, codes, threads):
    """float32, as NumPy multiplies."""
    return w.astype(np.float32), lambda W: W @ codes, 1


def dense_shared_out(w, codes, threads):
    """float32 rows in equal shares, one for each thread."""
    pool = ThreadPoolExecutor(threads)

    def multiply(W):
        return list(pool.map(lambda rows: rows @ codes, np.array_split(W, threads)))
    return w.astype(np.float32), multiply, threads


def pytorch_dense(w, codes, threads):
    """The same product by PyTorch."""
    from .peers import dense_product
    return dense_product(w, codes, threads)


def unpacked(w, codes, threads):
    """Packed, and made float32 again at every call."""
    return pack_ternary(w), lambda packed: unpack_ternary(packed, len(w)).astype(np.float32) @ codes, 1


def tiles(w, codes, threads):
    """Bit planes, of which tile by tile is made float32 for BLAS."""
    return bit_planes(w), partial(by_blas, codes, pool=ThreadPoolExecutor(threads)), threads


def lookup(w, codes, threads):
    """An index for several weights at a time, and tables of what they sum up to."""
    return table_indices(w), partial(by_lookup, codes), 1


def planes(w, codes, threads):
    """Bit planes, and word operations on them."""
    return bit_planes(w), partial(by_bit_planes, codes), 1


# int8 (n, m), float32 codes (m, N), threads -> the matrix as it is kept, a function of it that multiplies,
# its threads
DENSE, SHARED, PYTORCH = "dense float32", "dense, shared out", "PyTorch dense"
KERNELS = {DENSE: dense, SHARED: dense_shared_out, PYTORCH: pytorch_dense, "unpack every call": unpacked,
           "BLAS by tiles": tiles, "lookup tables": lookup, "bit planes": planes}


def measure(contenders, n, m, tokens, rounds, threads):
    """-> {"shape", "tokens", "threads", "rounds", contender: {"ms", "ns_per_weight", "bytes_per_weight",
    "threads", "to_dense"}}. To dense: its time over that of the faster dense product."""
    jobs = {name: (kernel_call, name, n, m, tokens, threads) for name in contenders}
    results = processes_take_turns(jobs, rounds, seconds=0.2)
    faster_dense = min((results[name][0] for name in (DENSE, SHARED)), key=median)
    row = {"shape": f"{n}x{m}", "tokens": tokens, "threads": threads, "rounds": rounds}
    for name, (times, facts, _) in results.items():
        row[name] = {"ms": 1e3 * median(times), "ns_per_weight": 1e9 * median(times) / (n * m), **facts,
                     "to_dense": ratio(times, faster_dense)["median"]}
    return row


def kernel_call(name, n, m, tokens, threads):
    """-> a function that makes one product, each time with another copy of the matrix; {"bytes_per_weight",
    "threads"}"""
    rng = np.random.default_rng(0)
    w, codes = rng.integers(-1, 2, (n, m), np.int8), rng.integers(-127, 128, (m, tokens)).astype(np.float32)
    matrix, multiply, used = KERNELS[name](w, codes, threads)
    following = streamed(matrix, matrix.nbytes)
    return lambda: multiply(next(following)), {"bytes_per_weight": matrix.nbytes / w.size, "threads": used}


def in_words(row, contenders):
    """A row of ``measure`` as a table to print."""
    tokens = f"{row['tokens']} token{'s' * (row['tokens'] > 1)}"
    lines = [f"{row['shape']}, {tokens}, median of {row['rounds']} rounds",
             f"  {'':18}{'threads':>7}{'ms':>9}{'ns/weight':>11}{'bytes/weight':>14}{'ms / dense':>12}"]
    for name in contenders:
        r = row[name]
        lines.append(f"  {name:18}{r['threads']:>7}{r['ms']:>9.3f}{r['ns_per_weight']:>11.3f}"
                     f"{r['bytes_per_weight']:>14.3f}{r['to_dense']:>12.2f}")
    return "\n".join(lines)
