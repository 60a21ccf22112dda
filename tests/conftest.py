import minibitnet._command  # noqa: F401  before NumPy: one BLAS thread, as in every command

import numpy as np
import pytest


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
