"""Linear algebra without a library: by pencil, and beside LAPACK in float64."""
import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.exact import Random
from minibitnet.ptq.elimination import cholesky, in_order, inverse, orthogonal, unit_upper

# [4 2]   [2 0] [2 1]        [4 2]   [1 2/3] [8/3 0] [1   0]
# [2 3] = [1 s] [0 s], s=√2  [2 3] = [0  1 ] [ 0  3] [2/3 1]
PENCIL = np.array([[4.0, 2.0], [2.0, 3.0]])


def positive_definite(m, seed):
    x = Random(seed).standard_normal((m, m + 3))
    return x @ x.T


def test_by_pencil():
    assert cholesky(PENCIL) == pytest.approx(np.array([[2, 0], [1, np.sqrt(2)]]))
    assert inverse(PENCIL) == pytest.approx(np.array([[3, -2], [-2, 4]]) / 8)
    U, D = unit_upper(PENCIL)
    assert U == pytest.approx(np.array([[1, 2 / 3], [0, 1]])) and D == pytest.approx([8 / 3, 3])


@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_beside_lapack(m):
    a = positive_definite(m, m)
    assert np.allclose(cholesky(a), np.linalg.cholesky(a), rtol=1e-9, atol=1e-12)
    assert np.allclose(inverse(a) @ a, np.eye(m), atol=1e-7)
    U, D = unit_upper(a)
    assert np.array_equal(U, np.triu(U)) and np.allclose((U * D) @ U.T, a, rtol=1e-9)


@pytest.mark.parametrize("decompose", [cholesky, inverse, unit_upper])
def test_what_is_not_positive_definite_is_refused(decompose):
    with pytest.raises(UserError, match="input [01] is a sum of others, or was never seen"):
        decompose(np.array([[1.0, 2.0], [2.0, 4.0]]))


@pytest.mark.parametrize("m", [1, 2, 16, 40])
def test_an_orthogonal_matrix_is_one(m):
    q = orthogonal(m, Random(3))
    assert np.abs(q.T @ q - np.eye(m)).max() < 1e-14
    assert np.array_equal(q, orthogonal(m, Random(3)))
    assert not np.array_equal(q, orthogonal(m, Random(4)))


def test_a_product_in_order():
    a, b = Random(0).standard_normal((3, 5)), Random(1).standard_normal((5, 4))
    assert np.allclose(in_order(a, b), a @ b, rtol=1e-12)
    big = np.array([[1e16, 1.0, -1e16]])
    assert in_order(big, np.ones((3, 1))) == 0 and in_order(big[:, [0, 2, 1]], np.ones((3, 1))) == 1
