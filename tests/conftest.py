import signal

import minibitnet._command  # noqa: F401  before NumPy: freed memory is kept, as in every command

import numpy as np
import pytest
import threadpoolctl

threadpoolctl.threadpool_limits(1, "blas")       # small products wait for threads longer than they take
# ignored where a script starts `pytest &`, and then by the commands that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def replaced(monkeypatch):
    """replaced("joules", quick=f): for this test, f is that part of the experiment."""
    from minibitnet.experiments.catalogue import EXPERIMENTS

    def replace(name, **parts):
        monkeypatch.setitem(EXPERIMENTS, name, EXPERIMENTS[name]._replace(**parts))
    return replace
