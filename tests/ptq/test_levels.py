"""Levels, by pencil."""
import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.ptq import levels
from minibitnet.quant import absmean_ternary

W = np.array([[0.75, -0.125, -1.0, 0.25]])


@pytest.mark.parametrize("bits, wanted", [
    (1, [1, -1, -1, 1]),                         # the largest magnitude, plus or minus
    (1.58, [1, 0, -1, 0]),
    (2, [1, 0, -1, 0]),                          # codes -1, 0, 1: the fourth would have no opposite
    (3, [2 / 3, 0, -1, 1 / 3])])                 # thirds; 0.75 is nearer to 2/3 than to 1
def test_absmax(bits, wanted):
    assert levels.symmetric(W, bits).nearest(W)[0] == pytest.approx(wanted)


def test_about_the_mean():
    """Mean magnitude 17/32: half of it is 0.266, so 0.25 and -0.125 become 0."""
    assert levels.about_mean(W, 1).nearest(W)[0] == pytest.approx(np.array([1, -1, -1, 1]) * 17 / 32)
    assert levels.about_mean(W, 1.58).nearest(W)[0] == pytest.approx(np.array([1, 0, -1, 0]) * 17 / 32)


@pytest.mark.parametrize("row", [W[0], [0.5, 1.5, 0.5, 1.5], [-0.5, 0.5, 1.5, -1.5]])
def test_one_row_about_the_mean_is_absmean(row):
    """With halves of the mean, too: they go to even codes."""
    w = np.float32([row])
    assert np.array_equal(levels.about_mean(w, 1.58).codes(w), absmean_ternary(w).codes)


def test_halves_go_to_even_levels_and_nothing_to_the_lower_of_two():
    whole = levels.Levels(np.ones((1, 1)), np.zeros((1, 1)), -7, 7)
    assert whole.codes(np.array([[0.5, 1.5, 2.5, -0.5, -1.5]]))[0].tolist() == [0, 2, 2, 0, -2]
    w = np.float32([[1e-9, 0, -1e-9, 1]])
    assert levels.about_mean(w, 1).codes(w)[0].tolist() == [1, -1, -1, 1]
    halves = levels.Levels(np.ones((1, 1)), np.full((1, 1), 1.5), 0, 3)
    assert halves.nearest(np.array([[0.2, -0.7, 1.1, 9.0]]))[0].tolist() == [0.5, -0.5, 1.5, 1.5]


def test_between_the_extremes():
    """-1 to 0.75 in four levels: 1.75 / 3 apart, and one of them is 0 (code 2)."""
    found = levels.between(W, 2)
    assert found.scale == pytest.approx(1.75 / 3) and found.zero == 2
    assert found.codes(W)[0].tolist() == [3, 2, 0, 2]
    assert found.nearest(W)[0] == pytest.approx([1.75 / 3, 0, -3.5 / 3, 0])


def test_more_bits_are_nearer():
    w = np.linspace(-1, 1, 101)[None] ** 3
    for of in (levels.symmetric, levels.between):
        errors = [np.abs(of(w, bits).nearest(w) - w).max() for bits in (2, 3, 4, 8)]
        assert errors == sorted(errors, reverse=True) and errors[-1] < 0.005


def test_rows_have_their_own_levels():
    w = np.concatenate([W, 10 * W])
    assert levels.symmetric(w, 4).nearest(w)[1] == pytest.approx(10 * levels.symmetric(W, 4).nearest(W)[0])


@pytest.mark.parametrize("bits", [0, 5, 1.5, 16, True, "4"])
def test_other_bits_are_refused(bits):
    with pytest.raises(UserError, match="expected one of 1, 1.58, 2, 3, 4, 8"):
        levels.symmetric(W, bits)


def test_zeros_have_levels():
    for of in (levels.symmetric, levels.between):
        assert not of(0 * W, 4).nearest(0 * W).any()
