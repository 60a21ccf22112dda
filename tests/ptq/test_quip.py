"""QuIP: the rotation is orthogonal and undone, outliers vanish, and two bits keep more."""
import numpy as np
import pytest
from layers import layer, objective

from minibitnet.exact import Random
from minibitnet.ptq import levels
from minibitnet.ptq.gptq import gptq
from minibitnet.ptq.quip import back, ldlq, levels_of, quip, rotate, rotation


@pytest.mark.parametrize("m", [1, 7, 12, 128, 352])
def test_a_rotation_is_orthogonal_and_undone(m):
    pair = rotation(m, 5)
    V = rotate(np.eye(m), pair)
    assert np.abs(V.T @ V - np.eye(m)).max() < 1e-13
    x = Random(0).standard_normal((m, 3))
    assert np.abs(back(rotate(x, pair), pair) - x).max() < 1e-13
    assert np.allclose(rotate(x, pair), np.kron(*pair) @ x)


def test_an_outlier_is_spread_over_all():
    w = Random(0).standard_normal((64, 64)) * 0.1
    w[5, 9] = 50
    turned = rotate(rotate(w, rotation(64, 1)).T, rotation(64, 2)).T
    rms = np.sqrt((w**2).mean())
    assert np.abs(w).max() / rms > 50 and np.abs(turned).max() / rms < 10
    assert (turned**2).sum() == pytest.approx((w**2).sum())


def test_feedback_by_pencil():
    """A = [[0 2/3] [0 0]]: 0.4 becomes 0, and 0.3 + 0.4 * 2/3 = 0.567 becomes 1."""
    H = np.array([[4.0, 2.0], [2.0, 3.0]])
    of = levels.Levels(np.ones((1, 1)), np.zeros((1, 1)), -8, 8)
    assert ldlq(np.array([[0.4, 0.3]]), H, of).tolist() == [[0, 1]]


def test_levels_are_even_about_zero():
    """Two bits: -2.4, -0.8, 0.8, 2.4 root mean squares."""
    w = np.array([[1.0, -1.0, 1.0, -1.0]])
    assert levels_of(w, 2).values(np.arange(4))[0] == pytest.approx([-2.4, -0.8, 0.8, 2.4])


def test_in_few_bits_the_rotation_pays():
    """A few inputs with large weights: what GPTQ loses in two bits, QuIP keeps; on average over layers."""
    ratios = []
    for seed in range(12):
        w, H = layer(16, 24, seed)
        w[:, seed % 24] *= 20
        plain = gptq(w, H, lambda columns: levels.between(columns, 2))
        ratios.append(objective(w, quip(w, H, 2, seed), H) / objective(w, plain, H))
    assert np.exp(np.mean(np.log(ratios))) < 0.8


def test_many_bits_lose_little():
    w, H = layer(8, 12, 0)
    assert np.abs(quip(w, H, 8) - w).max() < 0.05 * np.abs(w).max()
    losses = [objective(w, quip(w, H, bits), H) / objective(w, 0 * w, H) for bits in (8, 4, 3, 2, 1.58)]
    assert losses == sorted(losses) and losses[1] < 0.02 and losses[3] < 0.6


def test_a_seed_decides():
    w, H = layer(8, 12, 0)
    assert np.array_equal(quip(w, H, 2, 1), quip(w, H, 2, 1))
    assert not np.array_equal(quip(w, H, 2, 1), quip(w, H, 2, 2))
