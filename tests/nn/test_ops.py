"""Every op against finite differences in float64, by pencil, and attention against its definition."""
import numpy as np
import pytest

from minibitnet.exact import Operand
from minibitnet.nn import ops
from minibitnet.nn.gradcheck import vjp_error
from minibitnet.quant import Quantized, absmax_int8, absmean_ternary, in_groups

# central differences at 1e-6 in float64 are good to about 1e-9; a wrong term shows at 1e-2 and above
TOLERANCE = 1e-6


def normal(*shape):
    return lambda rng: rng.standard_normal(shape)


def integers(high, *shape):
    return lambda rng: rng.integers(0, high, shape)


def quantized(scale_shape, *shape):
    return lambda rng: Quantized(rng.integers(-5, 6, shape).astype(float), rng.uniform(0.1, 2, scale_shape))


def strided(*shape):                                # an array that is not contiguous
    return lambda rng: rng.standard_normal((shape[0], 2 * shape[1], shape[2]))[:, ::2]


# op, inputs, options: sizes of 1, unequal sizes, grouped heads, a cache (S > T), repeated ids, strided arrays
OPS = [
    (ops.embedding, [normal(7, 4), integers(7, 2, 9)], {}),
    (ops.embedding, [normal(3, 1), integers(1, 1, 1)], {}),
    (ops.add, [normal(3, 2, 4), normal(3, 2, 4)], {}),
    (ops.rms_norm, [normal(6, 2, 3), normal(6)], {"eps": 1e-6}),
    (ops.rms_norm, [normal(1, 1, 1), normal(1)], {"eps": 1e-2}),
    (ops.rms_norm, [strided(6, 2, 3), normal(6)], {"eps": 0.5}),
    (ops.layer_norm, [normal(6, 2, 3)], {"eps": 1e-6}),
    (ops.layer_norm, [normal(6, 2, 3)], {"eps": 1e-2, "groups": 2}),
    (ops.layer_norm, [strided(8, 1, 2)], {"eps": 1e-2}),
    (ops.linear, [normal(5, 2, 3), normal(4, 5)], {}),
    (ops.linear, [strided(1, 1, 1), normal(1, 1)], {}),
    (ops.ready, [normal(5, 2, 3)], {}),
    (ops.head, [normal(5, 2, 3), normal(4, 5)], {}),
    (ops.head, [strided(2, 1, 3), normal(7, 2)], {}),
    (ops.quantized_linear, [quantized((1, 2, 3), 5, 2, 3), quantized((1, 1), 4, 5)], {}),
    (ops.quantized_linear, [quantized((1, 1, 1), 5, 2, 3), quantized((4, 1), 4, 5)], {}),
    (ops.hadamard, [normal(8, 2, 3)], {}),
    (ops.hadamard, [normal(12, 1, 2)], {}),           # three blocks of four
    (ops.hadamard, [strided(1, 2, 3)], {}),
    (ops.rope, [normal(8, 2, 3)],
     dict(zip(("cos", "sin"), np.random.default_rng(1).standard_normal((2, 2, 2, 3)).astype(np.float32)))),
    (ops.rope, [strided(2, 1, 1)],
     dict(zip(("cos", "sin"), np.random.default_rng(1).standard_normal((2, 1, 1, 1)).astype(np.float32)))),
    (ops.causal_attention, [normal(8, 2, 5), normal(8, 2, 5), normal(8, 2, 5)], {"head_dim": 4}),
    (ops.causal_attention, [normal(8, 2, 5), normal(4, 2, 5), normal(4, 2, 5)], {"head_dim": 2}),
    (ops.causal_attention, [normal(6, 1, 2), normal(2, 1, 7), normal(2, 1, 7)], {"head_dim": 2}),
    (ops.causal_attention, [normal(2, 3, 1), normal(2, 3, 1), normal(2, 3, 1)], {"head_dim": 2}),
    (ops.causal_attention, [strided(4, 2, 3), strided(4, 2, 3), strided(4, 2, 3)], {"head_dim": 2}),
    (ops.causal_attention, [normal(4, 1, 70), normal(2, 1, 75), normal(2, 1, 75)],
     {"head_dim": 2}),    # more than one block of queries
    (ops.swiglu, [normal(5, 2, 3), normal(5, 2, 3)], {}),
    (ops.relu2_gate, [normal(5, 2, 3), normal(5, 2, 3)], {}),
    (ops.cross_entropy, [normal(6, 2, 4), integers(6, 2, 4)], {}),
    (ops.cross_entropy, [strided(6, 1, 1), integers(6, 1, 1)], {}),
    (ops.cross_entropy, [normal(6, 2, 4), lambda rng: np.array([[3, 0, -1, -1], [5, -1, 2, 2]])],
     {}),      # padding
]


@pytest.mark.parametrize("case", range(len(OPS)), ids=lambda i: f"{OPS[i][0].__name__}-{i}")
def test_gradient_agrees_with_finite_differences(case):
    """Ten random points per row of the table; every differentiable input is perturbed."""
    op, makers, options = OPS[case]
    for seed in range(10):
        rng = np.random.default_rng(seed)
        inputs = [make(rng) for make in makers]
        assert vjp_error(op, *inputs, rng=rng, **options) < TOLERANCE


def test_every_op_is_in_the_table():
    defined = {f for f in vars(ops).values() if hasattr(f, "forward")}
    assert defined == {op for op, _, _ in OPS}


@pytest.mark.parametrize("case", range(len(OPS)), ids=lambda i: f"{OPS[i][0].__name__}-{i}")
def test_float32_stays_float32(case):
    """No op lets float64 creep in, forward or backward: it would double the memory and halve the speed."""
    op, makers, options = OPS[case]
    rng = np.random.default_rng(0)

    def single(x):
        if isinstance(x, Quantized):
            return Quantized(single(x.codes), single(x.scale))
        return x.astype(np.float32) if x.dtype == np.float64 else x
    out, vjp = op.__wrapped__(*(single(make(rng)) for make in makers), **options)
    out = out.values if isinstance(out, Operand) else out
    assert out.dtype == np.float32
    assert all(g.dtype == np.float32 for g in vjp(np.ones_like(out)) if g is not None)


def test_rms_norm_by_pencil():
    """mean(3^2 + 4^2) = 12.5, so (3, 4) becomes (3, 4) / sqrt(12.5), then times the gain (1, 2)."""
    y = ops.rms_norm.forward(np.array([[[3.0]], [[4.0]]]), np.array([1.0, 2.0]), eps=0.0)
    assert np.allclose(y.ravel(), [3 / 12.5**0.5, 8 / 12.5**0.5], rtol=1e-14)


def test_layer_norm_by_pencil():
    """(1, 2, 3) has mean 2 and variance 2/3: (-1, 0, 1) / sqrt(2/3)."""
    y = ops.layer_norm.forward(np.array([1.0, 2.0, 3.0]).reshape(3, 1, 1), eps=0.0)
    assert np.allclose(y.ravel(), [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-14)


def test_layer_norm_in_groups_norms_each_group_by_itself(rng):
    x = rng.standard_normal((6, 2, 3))
    halves = np.concatenate([ops.layer_norm.forward(part, eps=1e-6) for part in (x[:3], x[3:])])
    assert np.array_equal(ops.layer_norm.forward(x, eps=1e-6, groups=2), halves)


def test_swiglu_by_pencil():
    """silu(0) = 0 and silu(ln 3) = ln 3 * 3/4, times up = 2; far out, silu(-1000) is 0 without an
    overflow."""
    y = ops.swiglu.forward(np.array([0.0, np.log(3), -1000.0]), np.array([2.0, 2.0, 2.0]))
    assert np.allclose(y, [0, 1.5 * np.log(3), 0], rtol=1e-14)


def test_relu2_gate_by_pencil():
    assert np.array_equal(ops.relu2_gate.forward(np.array([-3.0, 3.0]), np.array([2.0, 2.0])), [0, 18])


def test_cross_entropy_of_equal_logits_is_the_log_of_the_vocabulary():
    loss = ops.cross_entropy.forward(np.full((8, 2, 3), 5.0), np.zeros((2, 3), int))
    assert loss == pytest.approx(np.log(8), rel=1e-14)


def test_cross_entropy_survives_huge_logits():
    """Logits (1000, 0) with target 1: the loss is 1000, and exp(1000) is never formed."""
    assert ops.cross_entropy.forward(np.array([1000.0, 0.0]).reshape(2, 1, 1), np.array([[1]])) == 1000


def test_every_target_below_0_is_padding(rng):
    """-100, which PyTorch calls ignore_index, and -7 give the loss and the gradient of -1 to the bit, in a
    vocabulary of 6; the gradient of padding is 0."""
    logits, targets = rng.standard_normal((6, 1, 4)).astype(np.float32), np.array([[3, 0, -1, 5]])
    loss, vjp = ops.cross_entropy.__wrapped__(logits, targets)
    dlogits = vjp(np.float32(1))[0]
    assert not dlogits[:, 0, 2].any() and dlogits[:, 0, 1].all()
    for none in (-7, -100):
        other, vjp = ops.cross_entropy.__wrapped__(logits, np.where(targets < 0, none, targets))
        assert other == loss and np.array_equal(vjp(np.float32(1))[0], dlogits)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_the_mean_over_no_target_is_nan():
    assert np.isnan(ops.cross_entropy.forward(np.ones((6, 1, 2), np.float32), np.full((1, 2), -1)))


def test_rope_turns_a_pair_by_its_angle():
    """With D = 2, a quarter turn (cos 0, sin 1) takes (1, 0) to (0, 1): feature 0 pairs with feature D/2."""
    y = ops.rope.forward(np.array([1.0, 0.0]).reshape(2, 1, 1), cos=np.array([[[0.0]]]),
                         sin=np.array([[[1.0]]]))
    assert np.array_equal(y.ravel(), [0, 1])


def test_rope_scores_depend_on_the_distance_only(rng):
    """q . k after rotation is the same for positions (2, 5) and (7, 10)."""
    cos, sin = (table.astype(float) for table in ops.rotary_tables(8, 16, 10000.0))
    q, k = rng.standard_normal((2, 8))

    def at(x, p):
        return ops.rope.forward(x.reshape(8, 1, 1), cos=cos[:, None, [p]], sin=sin[:, None, [p]]).ravel()
    assert at(q, 5) @ at(k, 2) == pytest.approx(at(q, 10) @ at(k, 7), rel=1e-5)   # the tables are float32


def test_rope_refuses_tables_of_another_length():
    """Eight tokens with tables for four: the reshape alone would go through and mix tokens."""
    with pytest.raises(AssertionError, match="tables for"):
        ops.rope.forward(np.ones((4, 1, 8)), cos=np.ones((2, 1, 4)), sin=np.ones((2, 1, 4)))


# ---- the forms that blocks and sorting must equal

def naive_attention(q, k, v, D, n_kv_heads):      # (H D, B, T), (K D, B, S), (K D, B, S) -> (H D, B, T), vjp
    """o = v P,  P = softmax over keys of k^T q / sqrt(D), of all queries at once."""
    q, k, v = (x.reshape(n_kv_heads, -1, D, *x.shape[1:]) for x in (q, k, v))  # (K, H/K, D, B, T)
    scores = np.einsum("kidbs,khdbt->khbst", k, q) / D**0.5
    S, T = scores.shape[-2:]
    e = np.exp(scores - 1e30 * np.tri(S, T, T - S - 1) - scores.max(-2, keepdims=True))
    P = e / e.sum(-2, keepdims=True)
    o = np.einsum("kidbs,khbst->khdbt", v, P)

    def vjp(g):          # dS = P (dP - sum_keys(dP P)),  dP = v^T g,  dv = g P^T
                         # dq = k dS / sqrt(D),  dk = q dS^T / sqrt(D)
        g = g.reshape(o.shape)
        dP = np.einsum("kidbs,khdbt->khbst", v, g)
        dS = P * (dP - (dP * P).sum(-2, keepdims=True)) / D**0.5
        dq = np.einsum("kidbs,khbst->khdbt", k, dS)
        dk, dv = (np.einsum("khdbt,khbst->kdbs", x, y) for x, y in ((q, dS), (g, P)))
        return tuple(x.reshape(-1, *x.shape[-2:]) for x in (dq, dk, dv))
    return o.reshape(-1, *o.shape[-2:]), vjp


@pytest.mark.parametrize("heads, kv_heads, T, S", [(2, 2, 5, 5), (4, 2, 5, 5), (4, 1, 3, 9), (2, 2, 1, 6),
                                                   (1, 1, 1, 1), (2, 1, 150, 150), (2, 2, 65, 80)])
def test_attention_in_blocks_is_the_naive_one(heads, kv_heads, T, S, rng):
    """Forward and backward, one block of queries or three, with grouped heads and with a cache (S > T)."""
    q, g = rng.standard_normal((2, heads * 4, 2, T))
    k, v = rng.standard_normal((2, kv_heads * 4, 2, S))
    o, vjp = ops.causal_attention.__wrapped__(q, k, v, head_dim=4)
    expected, naive_vjp = naive_attention(q, k, v, 4, kv_heads)
    assert np.allclose(o, expected, rtol=0, atol=1e-14)
    for ours, theirs in zip(vjp(g), naive_vjp(g), strict=True):
        assert np.allclose(ours, theirs, rtol=0, atol=1e-12)


def test_naive_attention_by_pencil():
    """One head of one feature: scores 0 and ln 3 give the second query weights 1/4 and 3/4 of the values 8
    and 4: 5. The first sees the first key only: 8."""
    q, k, v = (np.array(x).reshape(1, 1, 2) for x in ([0.0, 1.0], [0.0, np.log(3)], [8.0, 4.0]))
    assert np.allclose(naive_attention(q, k, v, 1, 1)[0].ravel(), [8, 5], rtol=1e-14)


def test_the_sorted_gradient_of_the_embedding_is_np_add_at(rng):
    """Row v gets the sum of g over the tokens with id v. Whole numbers have one sum, in whatever order: equal
    to the last bit."""
    table, ids = np.zeros((7, 4), np.float32), rng.integers(0, 5, (2, 30))  # ids 5 and 6 never come
    g = rng.integers(-99, 100, (4, 2, 30)).astype(np.float32)
    expected = np.zeros_like(table)
    np.add.at(expected, ids, g.transpose(1, 2, 0))
    dtable, _ = ops.embedding.__wrapped__(table, ids)[1](g)
    assert np.array_equal(dtable, expected) and not dtable[5:].any()
    # other ids are seen
    assert not np.array_equal(ops.embedding.__wrapped__(table, ids[::-1])[1](g)[0], expected)


def test_attention_does_not_see_the_future(rng):
    """Changing the last token changes no earlier output, not in the last bit."""
    q, k, v = rng.standard_normal((3, 4, 1, 100))
    before = ops.causal_attention.forward(q, k, v, head_dim=4)
    k[..., -1], v[..., -1] = 100, 100
    assert np.array_equal(ops.causal_attention.forward(q, k, v, head_dim=4)[..., :-1], before[..., :-1])


def test_quantized_product_is_exact(rng):
    """float32 BLAS on codes gives the int32 sums themselves, at 2B-4T's largest width and at the extreme
    codes."""
    for make in (lambda *s: rng.integers(-127, 128, s), lambda *s: np.full(s, 127)):
        x, w = make(6912, 1, 5), np.where(make(8, 6912) > 0, 1, -1)
        one = np.ones((1, 1), np.float32)
        y = ops.quantized_linear.forward(Quantized(x.astype(np.float32), one[None]),
                                         Quantized(w.astype(np.float32), one))
        assert np.array_equal(y[:, 0], w @ x[:, 0])


def test_rescaling_before_the_product_is_not_exact(rng):
    """The popular form (W s_w) @ (x s_x) differs from the exact one: why ours multiplies codes."""
    x, w = rng.integers(-127, 128,
                        (512, 1, 64)).astype(np.float32), rng.integers(-1, 2, (64, 512)).astype(np.float32)
    s_x, s_w = np.float32(0.0123), np.float32(0.0456)
    exact = ops.quantized_linear.forward(Quantized(x, np.full((1, 1, 64), s_x)),
                                         Quantized(w, np.full((1, 1), s_w)))
    assert not np.array_equal((w * s_w) @ (x[:, 0] * s_x), exact[:, 0])


def test_quantized_product_refuses_a_scale_that_varies_along_the_sum():
    """Activations quantized in groups of features have no common factor to rescale with."""
    x, w = in_groups(absmax_int8, np.ones((4, 1, 1)), 2), absmean_ternary(np.ones((4, 4)))
    with pytest.raises(AssertionError, match="cannot be taken out of the sum"):
        ops.quantized_linear.forward(x, w)


def test_quantized_product_refuses_sums_beyond_float32():
    """132,104 features times 127 stay below 2^24; one feature more does not."""
    def product(m):
        one = np.ones((1, 1), np.float32)
        return ops.quantized_linear.forward(Quantized(np.zeros((m, 1, 1), np.float32), one[None]),
                                            Quantized(np.zeros((1, m), np.float32), one))
    assert product(132_104) == 0
    with pytest.raises(AssertionError, match="overflow the exact range"):
        product(132_105)


def test_hadamard_by_pencil():
    """(1, 2, 3, 4): (1 + 2, 1 - 2, 3 + 4, 3 - 4) = (3, -1, 7, -1), then (10, -2, -4, 0), halved."""
    x = np.array([1.0, 2, 3, 4])[:, None, None]
    assert ops.hadamard.forward(x)[:, 0, 0].tolist() == [5, -1, -2, 0]
    three = np.array([1.0, 2, 3])[:, None, None]
    assert np.array_equal(ops.hadamard.forward(three), three), "blocks of one"


@pytest.mark.parametrize("m, size", [(1, 1), (32, 32), (88, 8), (352, 32)])
def test_hadamard_is_orthogonal_and_undoes_itself(m, size):
    H = ops.hadamard.forward(np.eye(m)[:, None])[:, 0]
    assert np.abs(H @ H.T - np.eye(m)).max() < 1e-14 and np.array_equal(H, H.T)
    assert set(np.count_nonzero(H, axis=0)) == {size}


def test_rotary_tables_by_pencil():
    """D = 4, theta = 100: the two pairs turn by 1 and 100^(-1/2) = 0.1 radian a position."""
    cos, sin = ops.rotary_tables(4, 3, 100.0)
    assert np.allclose(cos, np.cos([[0, 1, 2], [0, 0.1, 0.2]]), atol=1e-7)
    assert np.allclose(sin, np.sin([[0, 1, 2], [0, 0.1, 0.2]]), atol=1e-7)
