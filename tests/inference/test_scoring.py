"""The surprisal of targets, by pencil."""
import numpy as np
import pytest

from minibitnet.inference.scoring import surprisal


def test_surprisal_by_pencil():
    """Logits log 3 and 0 are chances 3/4 and 1/4, whatever is added to both; two places, targets 0 and 1."""
    logits = np.log(np.array([[3.0, 3e30], [1.0, 1e30]]))
    assert surprisal(logits, np.array([0, 1])) == pytest.approx([np.log(4 / 3), np.log(4)])
