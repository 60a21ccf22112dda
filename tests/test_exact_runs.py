"""Training runs whose every bit is known: here, in processes with other kernels, and without vector code."""
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import exact_matrix
from minibitnet.exact import total
from minibitnet.nn import ops

RESULT = Path(__file__).parent.parent / "data" / "results" / "exact.json"
NEW = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4)
SLOWEST = exact_matrix.FEATURES["new" if NEW else "old"][-1]
CELLS = {"Haswell": ("Haswell", ""), "Prescott": ("Prescott", ""), "no vector code": (None, SLOWEST)}
STEPS = 6


@pytest.mark.parametrize("variant, threads", [("ternary", 1), ("binary", 2), ("float", 3)])
def test_thirty_steps_give_the_golden_bits(variant, threads):
    """The sha256 of the parameters, of all losses and gradient norms, and of what the engines then say, as
    data/results/exact.json has them."""
    golden = json.loads(RESULT.read_text(encoding="utf-8"))["result"]["golden"]
    assert exact_matrix.run(variant, exact_matrix.GOLDEN, threads) == golden[variant]


def test_one_sum_in_another_order_is_seen(monkeypatch):
    """The sums of the norms, from their other end: after one step everything has other bits."""
    before = exact_matrix.run("float", 1)
    monkeypatch.setattr(ops, "total", lambda x, axis=0: total(np.flip(x, axis), axis))
    after = exact_matrix.run("float", 1)
    assert [name for name in before if before[name] == after[name]] == []


@pytest.fixture(scope="module")
def cells():
    """{name: what its process found}, two processes at a time."""
    with ThreadPoolExecutor(2) as pool:
        found = pool.map(lambda cell: exact_matrix.cell(sys.executable, *cell, 2, STEPS), CELLS.values())
        return dict(zip(CELLS, found))


@pytest.fixture(scope="module")
def ours():
    return {variant: exact_matrix.run(variant, STEPS) for variant in exact_matrix.VARIANTS}


@pytest.mark.parametrize("name", CELLS)
def test_other_kernels_give_the_same_bits(name, cells, ours):
    """Six steps of each variant on two threads, in a process where OpenBLAS takes another kernel or NumPy no
    vector code; on a processor that has neither the variables do nothing."""
    found = cells[name]
    if "refused" in found:
        pytest.skip(found["refused"])
    assert {variant: found[variant] for variant in exact_matrix.VARIANTS} == ours
