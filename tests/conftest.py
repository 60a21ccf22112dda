import minibitnet._command  # noqa: F401  before NumPy: one BLAS thread, as in every command

import numpy as np
import pytest


@pytest.fixture
def rng():
    return np.random.default_rng(0)
