import pstats

import pytest

from minibitnet import bench
from minibitnet.nn import ops


def test_one_row_has_every_contender_and_ratios_that_fit():
    """The smallest size, one round, without PyTorch: ours cannot be faster than its own matrix products alone."""
    row = bench.measure([bench.OURS, bench.FLOOR], "S", "float", rounds=1, threads=1)
    assert row["size"] == "S" and row["minibitnet"]["ours_to_this"] == 1
    assert 0.1 < row["GEMMs alone"]["ours_to_this"] < 1 and row["minibitnet"]["peak_mb"] > 30


def test_by_op_gives_numpys_time_to_the_op_that_called_it():
    """A hand-made profile: matmul took 2 s under linear's forward, 1 s of a NumPy reduction went to rms_norm, AdamW had 3 s of its own."""
    linear = (ops.__file__, ops.linear.__wrapped__.__code__.co_firstlineno, "linear")
    rms_norm = (ops.__file__, ops.rms_norm.__wrapped__.__code__.co_firstlineno, "rms_norm")
    matmul = (ops.__file__, ops.matmul.__code__.co_firstlineno, "matmul")
    reduce, step = ("~", 0, "<method 'reduce' of 'numpy.ufunc' objects>"), ("/x/optim.py", 5, "step")
    stats = pstats.Stats()
    stats.stats = {linear: (1, 1, 0.5, 2.5, {}), rms_norm: (1, 1, 0.25, 1.25, {}), step: (1, 1, 3.0, 3.0, {}),
                   matmul: (1, 1, 2.0, 2.0, {linear: (1, 1, 2.0, 2.0)}), reduce: (1, 1, 1.0, 1.0, {rms_norm: (1, 1, 1.0, 1.0)})}
    times = bench.by_op(stats)
    assert times["linear"] == {"gemm": 2.0, "other": 0.5}
    assert times["rms_norm"] == {"gemm": 0.0, "other": 1.25}
    assert times["AdamW, clipping"] == {"gemm": 0.0, "other": 3.0}
    assert sum(map(sum, (t.values() for t in times.values()))) == pytest.approx(6.75)
