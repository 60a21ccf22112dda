import numpy as np
import pytest

from minibitnet.nn.autograd import Tensor
from minibitnet.nn.optim import BLOCK, AdamW, clip_global_norm, cosine, two_stage


def test_adamw_first_step_by_pencil():
    """With m = v = 0 the corrected moments are g and g^2: W moves by lr sign(g), after decaying by lr wd: 2
    (1 - 0.01) - 0.1 = 1.88."""
    p = Tensor(np.array([[2.0]]))
    AdamW({"w": p}, eps=0.0).step({"w": np.array([[5.0]])}, lr=0.1, weight_decay=0.1)
    assert p.data[0, 0] == pytest.approx(1.88, rel=1e-14)


def test_adamw_second_step_by_pencil():
    """beta1 = 0.5, beta2 = 0.75, g = 1 then -3: m = 0.5 then -1.25, over 1 - 0.25 = -5/3; v = 0.25 then
    2.4375, over 1 - 0.5625 = 39/7."""
    p = Tensor(np.array([0.0]))
    optimizer = AdamW({"w": p}, beta1=0.5, beta2=0.75, eps=0.0)
    for g in (1.0, -3.0):
        optimizer.step({"w": np.array([g])}, lr=1.0, weight_decay=0.0)
    assert p.data[0] == pytest.approx(-1 + (5 / 3) / (39 / 7) ** 0.5, rel=1e-14)


def test_gains_do_not_decay():
    gain, matrix = Tensor(np.ones(3)), Tensor(np.ones((3, 1)))
    AdamW({"g": gain, "w": matrix}).step({"g": np.zeros(3), "w": np.zeros((3, 1))}, lr=0.1, weight_decay=0.5)
    assert (gain.data == 1).all() and np.allclose(matrix.data, 0.95)


def test_blocks_change_no_bit(rng):
    """A matrix of two and a half blocks moves exactly as its parts by themselves."""
    w, g = rng.standard_normal((2, 5, BLOCK // 2)).astype(np.float32)
    whole, parts = Tensor(w.copy()), {str(i): Tensor(row[None].copy()) for i, row in enumerate(w)}
    one, many = AdamW({"w": whole}), AdamW(parts)
    for _ in range(3):
        one.step({"w": g}, lr=0.01, weight_decay=0.1)
        many.step({name: g[int(name)][None] for name in parts}, lr=0.01, weight_decay=0.1)
    assert np.array_equal(whole.data, np.concatenate([p.data for p in parts.values()]))


def test_clipping_scales_the_joint_norm():
    """(3) and (4) have joint norm 5: clipped to 1 they are 0.6 and 0.8; below the limit nothing changes; 0
    never clips."""
    def grads():
        return {"a": np.array([3.0], np.float32), "b": np.array([[4.0]], np.float32)}
    for limit, expected in ((1, (0.6, 0.8)), (10, (3, 4)), (0, (3, 4))):
        g = grads()
        assert clip_global_norm(g, limit) == 5
        assert (g["a"][0], g["b"][0, 0]) == pytest.approx(expected)


def test_two_stage_by_pencil():
    """10 steps, 2 of warm-up, peaks 1 and 0.5: 1/2, 1, then 1 - s/10 until 4, then (1 - s/10) / 2."""
    rates = [two_stage(s, 10, 2, 1.0, 0.5) for s in range(10)]
    assert rates == pytest.approx([0.5, 1.0, 0.8, 0.7, 0.6, 0.25, 0.2, 0.15, 0.1, 0.05])


def test_cosine_by_pencil():
    """Warm-up 1/2, 1; from 1 down to 0.1, half way in the middle: step 6 of 2..10 is 0.55."""
    rates = [cosine(s, 10, 2, 1.0) for s in range(11)]
    assert rates[:3] == pytest.approx([0.5, 1.0, 1.0]) and rates[6] == pytest.approx(0.55)
    assert rates[10] == pytest.approx(0.1)
