"""SmoothQuant: by pencil, and the function in floats stays what it is."""
import numpy as np
import pytest

from minibitnet.exact import Random
from minibitnet.nn.autograd import Tensor
from minibitnet.nn.layers import Linear, RMSNorm
from minibitnet.ptq.smoothquant import scales, smooth


def test_by_pencil():
    """Inputs up to 16 and 1, weights up to 1 and 4: s = sqrt(16 / 1), sqrt(1 / 4)."""
    w = np.array([[0.5, -4.0], [-1.0, 2.0]])
    assert scales([16.0, 1.0], [w]) == pytest.approx([4, 0.5])
    assert scales([16.0, 1.0], [w], alpha=1.0) == pytest.approx([16, 1]), "all of it in the weights"
    assert scales([16.0, 1.0], [w], alpha=0.0) == pytest.approx([1, 0.25]), "all of it in the inputs"
    assert scales([16.0, 1.0], [w, 4 * w]) == pytest.approx([2, 0.25]), "of two that share the inputs"


def independent(largest, w, alpha):
    """In float64, with NumPy's own power."""
    return np.asarray(largest, float)**alpha / np.abs(w).astype(float).max(0)**(1 - alpha)


@pytest.mark.parametrize("seed", range(100))
def test_beside_numpy(seed):
    rng = Random(seed)
    w, largest = rng.standard_normal((6, 9)), np.abs(rng.standard_normal((9,))) + 0.1
    alpha = (0.3, 0.5, 0.8)[seed % 3]
    assert scales(largest, [w], alpha) == pytest.approx(independent(largest, w, alpha), rel=1e-6)


def test_the_function_stays():
    """And the outliers are gone: input 3 was a hundred times as large as the others."""
    rng = Random(0)
    norm, layers = RMSNorm(12, 1e-6), [Linear(12, 7, rng), Linear(12, 5, rng)]
    norm.weight.data[3] = 100
    x = Tensor(rng.standard_normal((12, 2, 9)).astype(np.float32))
    before, normed = [layer(norm(x)).data for layer in layers], norm(x).data
    smooth(norm, layers, np.abs(normed).max((1, 2)))
    after = norm(x).data
    for y, layer in zip(before, layers):
        assert np.abs(layer(norm(x)).data - y).max() < 1e-4 * np.abs(y).max()
    spread = [np.abs(values).max((1, 2)) for values in (normed, after)]
    assert spread[0].max() / np.median(spread[0]) > 50 and spread[1].max() / np.median(spread[1]) < 12
