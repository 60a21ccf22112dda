import importlib.util
import pstats

import numpy as np
import pytest

from minibitnet import bench
from minibitnet.errors import UserError
from minibitnet.inference.kernels import reference
from minibitnet.nn import ops


def test_one_row_has_every_contender_and_ratios_that_fit():
    """The smallest size, one round, without PyTorch. (That ours is slower than its own matrix products is for a quiet machine to show.)"""
    row = bench.measure([bench.OURS, bench.FLOOR], "S", "float", rounds=1, threads=1)
    assert row["size"] == "S" and row["minibitnet"]["ours_to_this"] == 1
    assert row["GEMMs alone"]["ours_to_this"] > 0 and row["minibitnet"]["peak_mb"] > 30


def test_by_op_gives_numpys_time_to_the_op_that_called_it():
    """A hand-made profile: linear 0.5 s and 2 s in matmul; rms_norm 0.25 s and 1 s in .sum(), whose inner reduce is not counted
    twice; AdamW 3 s of its own; 0.5 s of a built-in that nobody's op called."""
    def at(fn):
        return fn.__code__.co_filename, fn.__code__.co_firstlineno, fn.__name__
    linear, rms_norm, matmul = at(ops.linear.__wrapped__), at(ops.rms_norm.__wrapped__), at(ops.matmul)
    reduce, step, loop = ("~", 0, "<method 'reduce' of 'numpy.ufunc' objects>"), ("/x/optim.py", 5, "step"), ("/x/autograd.py", 9, "backward")
    method = (f"{np.__path__[0]}/_core/_methods.py", 50, "_sum")
    stats = pstats.Stats()
    stats.stats = {linear: (1, 1, 0.5, 2.5, {}), rms_norm: (1, 1, 0.25, 1.25, {}), step: (1, 1, 3.0, 3.0, {}),
                   matmul: (1, 1, 2.0, 2.0, {linear: (1, 1, 2.0, 2.0)}), method: (1, 1, 0.1, 1.0, {rms_norm: (1, 1, 0.1, 1.0)}),
                   reduce: (2, 2, 1.4, 1.4, {method: (1, 1, 0.9, 0.9), loop: (1, 1, 0.5, 0.5)})}
    assert bench.by_op(stats) == {"linear": {"gemm": 2.0, "other": 0.5}, "rms_norm": {"gemm": 0.0, "other": 1.25},
                                  "AdamW, clipping": {"gemm": 0.0, "other": 3.0}, "tape and Python": {"gemm": 0.0, "other": 0.5}}


@pytest.mark.parametrize("name", bench.KERNELS)
def test_every_contender_among_the_kernels_makes_the_same_product(name, rng):
    """What is compared for speed is equal in result, for an odd shape and several tokens."""
    if name == bench.PYTORCH and not importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is not installed")
    w, codes = rng.integers(-1, 2, (13, 70), np.int8), rng.integers(-127, 128, (70, 3)).astype(np.float32)
    matrix, multiply, _ = bench.KERNELS[name](w, codes, 2)
    y = multiply(matrix)
    assert np.array_equal(np.concatenate(y) if isinstance(y, list) else y, reference(codes, w))


def test_a_row_of_the_kernels_counts_bytes_and_compares_with_the_faster_dense_product():
    """64 rows of 128 weights: float32 takes 4 bytes a weight; two bit planes a quarter of a byte and 4 bytes a row, 1/32 more."""
    row = bench.measure_kernels([bench.DENSE, bench.SHARED, "bit planes"], 64, 128, tokens=1, rounds=1, threads=2)
    assert row["shape"] == "64x128" and row["dense float32"]["bytes_per_weight"] == 4 and row["bit planes"]["bytes_per_weight"] == 0.25 + 1 / 32
    dense = min((row[name] for name in (bench.DENSE, bench.SHARED)), key=lambda r: r["ms"])
    assert dense["to_dense"] == 1
    assert np.isclose(row["bit planes"]["to_dense"], row["bit planes"]["ms"] / dense["ms"])
    assert "64x128, 1 token, median of 1 rounds" in bench.kernels_in_words(row, [bench.DENSE])


def test_what_a_contenders_process_cannot_do_is_said_by_ours():
    with pytest.raises(UserError, match="^no such device$"):
        bench.take_turns({"one": (refuse,)}, rounds=1, seconds=0)


def refuse():
    raise OSError("no such device")


def test_shapes_are_outputs_x_inputs():
    assert bench.shape("2560x6912") == (2560, 6912)
    for bad in ("2560", "2560x", "0x5", "axb", "2x3x4"):
        with pytest.raises(bench.argparse.ArgumentTypeError, match=f"{bad}: expected outputs x inputs"):
            bench.shape(bad)


def test_whole_models_are_decoded_side_by_side():
    """The tiny shape, one round: both engines, their speeds. By pencil, in MB of 10^6 bytes: 936,988 - 28 numbers of 4 bytes are 3.748; packed,
    802,816 / 4 bytes of planes, for width 352 padded to 384 (down 4 x 128 x 32 / 4 more), 4 for each of 4 x 1,344 rows, 4 x 131,072 are 0.751."""
    row = bench.measure_decode("tiny", rounds=1, threads=1)
    packed, dense = row[bench.PACKED], row[bench.FLOAT]
    assert packed["ours_to_this"] == 1 and dense["ours_to_this"] > 0 and min(packed["decode_tokens_per_s"], dense["prefill_tokens_per_s"]) > 1
    assert dense["weights_mb"] == 3.74784 and packed["weights_mb"] == (200_704 + 4_096 + 21_504 + 524_288) / 1e6
    assert row[bench.INTEGER]["weights_mb"] == (200_704 + 4_096 + 21_504 + 2 * 131_072) / 1e6          # embedding and head in 16 bits
    assert "tiny, context 256, 1 threads" in bench.decode_in_words(row) and "packed engine" in bench.decode_in_words(row) and row["context"] == 256
