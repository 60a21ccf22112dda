"""GPTQ: by pencil, beside an implementation without triangles, and against rounding."""
import numpy as np
import pytest
from layers import layer, objective

from minibitnet.exact import Random
from minibitnet.ptq import levels
from minibitnet.ptq.gptq import damped, gptq
from minibitnet.ptq.quip import ldlq


def step_by_step(w, H, levels_of):
    """[gptq] eq. 2 as it is printed: the inverse of what is left of H, anew for each column."""
    w, q = w.copy(), np.empty_like(w)
    found = levels_of(w)
    for j in range(w.shape[1]):
        inverse = np.linalg.inv(H[j:, j:])
        q[:, j] = found.nearest(w[:, [j]])[:, 0]
        w[:, j:] -= np.outer((w[:, j] - q[:, j]) / inverse[0, 0], inverse[0])
    return q


def whole(w):
    """Levels that are the whole numbers."""
    return levels.Levels(np.ones((len(w), 1)), np.zeros((len(w), 1)), -8, 8)


def test_by_pencil():
    """H^-1 = [[3 -2] [-2 4]] / 8. 0.4 becomes 0, e = 0.4; the other weight, 0.3, loses e * -2/3 and is
    0.5667: it becomes 1, which rounding alone would not make of it. Objective: d = (0.4, -0.7), 0.64 - 1.12 +
    1.47 = 0.99; rounding's, d = (0.4, 0.3): 0.64 + 0.48 + 0.27 = 1.39."""
    H, w = np.array([[4.0, 2.0], [2.0, 3.0]]), np.array([[0.4, 0.3]])
    q = gptq(w, H, whole)
    assert q.tolist() == [[0, 1]]
    assert objective(w, q, H) == pytest.approx(0.99) and objective(w, np.rint(w), H) == pytest.approx(1.39)


@pytest.mark.parametrize("seed", range(100))
def test_beside_the_closed_form(seed):
    w, H = layer(5, 8 + seed % 9, seed)
    bits = (2, 3, 4, 8)[seed % 4]

    def of(columns):
        return levels.between(columns, bits)
    ours, theirs = gptq(w, H, of), step_by_step(w, H, of)
    assert np.abs(ours - theirs).max() < 1e-6, "no random weight lies within rounding of a tie"


def test_it_beats_rounding_on_average():
    """Of 1,000 layers; a single one may be worse."""
    ratios = []
    for seed in range(1000):
        w, H = layer(2, 8, seed)
        of = levels.between(w, 3)
        ratios.append(objective(w, gptq(w, H, lambda w, of=of: of), H)
                      / objective(w, of.nearest(w), H))
    better = np.mean(np.array(ratios) < 1 - 1e-9)
    assert np.exp(np.log(ratios).mean()) < 0.8 and 0.7 < better < 0.999


def test_it_is_ldlq():
    """The same feedback, found from the other end."""
    for seed in range(20):
        w, H = layer(6, 12, seed)
        of = levels.between(w, 3)
        assert np.abs(gptq(w, H, lambda w, of=of: of) - ldlq(w, H, of)).max() < 1e-9


def test_without_correlations_it_is_rounding():
    w = Random(0).standard_normal((3, 6))
    assert np.array_equal(gptq(w, np.diag([1.0, 2, 3, 4, 5, 6]), whole), np.rint(w))


def test_groups_have_their_own_levels():
    """Eight weights in groups of four, of which the second are ten times as large."""
    w = Random(1).standard_normal((3, 8)) * np.repeat([1.0, 10.0], 4)
    q = gptq(w, np.eye(8), lambda columns: levels.symmetric(columns, 3), group=4)
    for half in (slice(0, 4), slice(4, 8)):
        assert np.allclose(q[:, half], levels.symmetric(w[:, half], 3).nearest(w[:, half]))


def test_damping_makes_an_input_that_was_never_seen_harmless():
    H = np.array([[2.0, 0.0], [0.0, 0.0]])
    assert damped(H, 0.5).tolist() == [[2.5, 0], [0, 1.5]]
    assert np.isfinite(gptq(np.array([[0.3, 0.7]]), damped(H), whole)).all()
