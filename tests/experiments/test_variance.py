import pytest

from minibitnet.experiments import variance


def test_the_norm_keeps_the_variance_whatever_the_width_and_the_input():
    """2 / pi = 0.637 for binary weights, times 0.690 for ternary ones; 512 outputs of 64 tokens are within a tenth of it."""
    result = variance.quick()
    assert f"{variance.NOT_ZERO:.3f}" == "0.690" and len(result["rows"]) == 2 * 2 * 3
    for r in result["rows"]:
        assert r["with_norm"] == pytest.approx(result["expected"][r["weights"]], rel=0.1)
        assert r["without"] == pytest.approx(r["with_norm"] * r["input"] ** 2, rel=0.1), "without the norm it follows the input"
