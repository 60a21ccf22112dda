"""16-bit floats by pencil: what rounds where, what does not fit, what is not finite."""
import numpy as np
import pytest

from minibitnet import float16
from minibitnet.float16 import BFLOAT16, all_finite, rounded, widen


def test_bfloat16_rounds_to_the_nearest_and_halves_to_even():
    """1 + 2^-8 lies half way between 1 and 1 + 2^-7: to the even one, 1. 1 + 3 2^-8 lies half way between the
    odd 1 + 2^-7 and the even 1 + 2^-6."""
    x = np.array([1, 1 + 2**-8, 1 + 2**-8 + 2**-20, 1 + 3 * 2**-8, -3.0, 0], np.float32)
    assert widen(rounded(x, BFLOAT16)).tolist() == [1, 1, 1 + 2**-7, 1 + 2**-6, -3, 0]
    assert rounded(np.array([1.0], np.float32), BFLOAT16).view(np.uint16)[0] == 0x3F80


def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="70000 is too large for float16.*float32 holds it"):
        rounded(np.array([7e4], np.float32), np.dtype(np.float16))
    assert widen(rounded(np.array([7e4], np.float32), BFLOAT16))[0] == pytest.approx(7e4, rel=2**-8)
    with pytest.raises(ValueError, match="3.4e.38 is too large for bfloat16"):
        rounded(np.array([3.4e38], np.float32), BFLOAT16)


def test_only_finite_values_are_finite():
    for dtype in (np.dtype(np.float32), np.dtype(np.float16)):
        assert all_finite(np.array([1, -2], dtype))
        assert not all_finite(np.array([1, np.nan], dtype)) and not all_finite(np.array([np.inf], dtype))
    bits = np.array([0x7F7F, 0xFF7F, 0x0000, 0x7F80, 0xFFC1], np.uint16).view(BFLOAT16)
    # the largest, the smallest, 0; infinity, NaN
    assert all_finite(bits[:3]) and not all_finite(bits[:4]) and not all_finite(bits[4:])
    last = np.zeros((3, float16.BLOCK), np.float32)
    last[2, -1] = np.nan                         # in the last of three blocks
    assert all_finite(last[:2]) and not all_finite(last)
