"""The integer engine: each part against the float op it stands for, the whole against
itself, and no float anywhere."""
import ast
import hashlib
import inspect
import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet import float16
from minibitnet.errors import UserError
from minibitnet.formats.packed import PackedMatrix
from minibitnet.inference import fixed_point, integer, kernels, sampling
from minibitnet.inference.integer import IntegerModel
from minibitnet.inference.integer_convert import (IntegerBitLinear, Norm, activation_bits, integer_norm,
                                                  largest_output)
from minibitnet.inference.sampling import decode, sampler
from minibitnet.nn import ops
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.float16 import BFLOAT16, rounded
from minibitnet.packing import pack_ternary
from minibitnet.quant import Quantized, absmax_int8

SIZES = {"vocab_size": 40, "d_model": 32, "n_layers": 2, "n_heads": 4, "context": 12}
CONFIGS = {
    "ternary": ModelConfig(**SIZES, rope_theta=5e5, norm_eps=0.15),
    "ternary relu2 tied": ModelConfig(**SIZES, activation="relu2", tied=True),
    "binary grouped": ModelConfig(**SIZES, linear="binary", n_kv_heads=2),
    "wide heads": ModelConfig(**SIZES, d_head=10, n_kv_heads=2),
    "binary relu2 tied": ModelConfig(**SIZES, linear="binary", activation="relu2", tied=True, n_kv_heads=1),
}


def engines(c):
    """(float, integer) of the same random model, with gains that are not all ones."""
    model, rng = Transformer(c), np.random.default_rng(1)
    for name, p in model.parameters().items():
        if p.data.ndim == 1:
            p.data[:] = rng.uniform(0.3, 2, p.data.shape)
    running = model.quantized()
    return running, IntegerModel(c, *converted(running))


def converted(running):
    data = {name: p.data for name, p in running.parameters().items()}
    matrices = {name: PackedMatrix(pack_ternary(d.codes), len(d.codes), d.scale[0, 0])
                for name, d in data.items() if isinstance(d, Quantized)}
    return matrices, {name: d for name, d in data.items() if name not in matrices}


@pytest.fixture(params=CONFIGS)
def pair(request):
    return engines(CONFIGS[request.param])


@pytest.fixture
def ids(rng):
    return rng.integers(0, 40, (3, 12))


# ---- each part against its float op

def float_norm(x, gain, eps=1e-6):
    """RMSNorm with a gain, LayerNorm without."""
    if gain is None:
        return ops.layer_norm.forward(x, eps=eps)
    return ops.rms_norm.forward(x, gain.astype(float), eps=eps)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("size", [0.001, 1, 300])         # eps decides, does not matter, and x is narrowed
def test_norm_and_quantizer_give_the_float_codes_and_scale(rng, centred, size):
    """The same codes but for values within a hair of a half (1 in 1,000 at most),
    and the same scale to 6 digits."""
    x = np.rint(rng.standard_normal((64, 2, 50)) * size * 2**20).astype(np.int64)
    gain = None if centred else rng.uniform(-2, 2, 64).astype(np.float32)
    norm, unit = integer_norm(gain, centred, 64, 1e-6, 2.0**-20)
    out = integer.quantized(*integer.normed(norm, x))
    codes, scale = absmax_int8(float_norm(x / 2**20, gain))
    assert np.abs(out.codes - codes).max() <= 1 and (out.codes != codes).mean() < 1e-3
    out_scale = np.ldexp(out.mantissa * unit * 64**0.5 / 127, out.exponent)
    assert np.allclose(out_scale, scale[0], rtol=1e-6, atol=0)


def test_the_example_by_hand():
    """Every number of the docstring's is what the functions give, in its order."""
    x = (np.array([3, -1, 0.5, 2]) * 2**20).astype(np.int64)[:, None, None]
    planes = kernels.bit_planes(np.array([[1, 0, -1, 1]]))
    w = IntegerBitLinear(planes, *fixed_point.mantissa(0.5 / 127 * 2 * 2**20))
    y, S = integer.normed(integer_norm(None, False, 4, 0.0, 1.0)[0], x)
    out = integer.quantized(y, S)
    (M_x,), (E_x,) = out.mantissa[0], out.exponent[0]
    multiplier, places = M_x * w.mantissa >> 31, -31 - w.exponent - E_x
    result = integer.bit_linear(w, out)[0, 0, 0]
    said = [*x.ravel(), *S[0], y.max(), *out.codes.ravel(), f"{M_x} 2^{E_x}", f"{w.mantissa} 2^{w.exponent}",
            multiplier, f"shift(191 {multiplier}, -31 + {-w.exponent} + {-E_x}) = {result}"]
    text = " ".join(integer.__doc__.split("**By hand.**")[1].split("**Letters.**")[0].split())
    assert kernels.reference(out.codes[:, 0], np.array([[1, 0, -1, 1]])) == 191 and places == 16
    for number in map(str, said):
        assert number in text
        text = text[text.index(number) + len(number):]
    real = 191 * 0.5 * 3 / 127 / (14.25 / 4)**0.5
    assert f"{real:.5f}" == f"{result / 2**20:.5f}" == "1.19521"


def test_codes_do_not_change_when_a_token_is_multiplied(rng):
    """Why 1/rms is not needed for them: 8 x has the codes of x (eps = 0), and its scale is the same too."""
    x = rng.integers(-2**20, 2**20, (16, 1, 5))
    norm, _ = integer_norm(np.ones(16, np.float32), False, 16, 0.0, 1.0)
    once, eight_times = (integer.quantized(*integer.normed(norm, a)) for a in (x, 8 * x))
    for a, b in zip(once, eight_times):
        assert np.array_equal(a, b)


def test_a_token_of_zeros_has_codes_zero():
    """And S = 1, even without eps: a root of 0 would have no mantissa."""
    norm, _ = integer_norm(None, True, 16, 0.0, 1.0)
    y, S = integer.normed(norm, np.zeros((16, 1, 1), np.int64))
    assert S == 1 and not integer.quantized(y, S).codes.any()


@pytest.mark.parametrize("size", [1, 2**10, 2**20, 2**30, 2**50])
def test_eps_counts_in_tokens_of_any_size(rng, size):
    """Units of 2^-44, those of silu(gate) up: 64 eps is then 2^74.1, more than the 60 bits it has, and is
    kept as 2^58.1 times 4^8. To be added to it, even a token far smaller than that must give up 8 bits; what
    vanishes is below 2^7 units, 2^-27 in n."""
    x = np.rint(rng.uniform(-size, size, (64, 1, 20))).astype(np.int64)
    norm, _ = integer_norm(None, False, 64, 1e-6, 2.0**-44)
    y, S = integer.normed(norm, x)
    real = ops.rms_norm.forward(x * 2.0**-44, np.ones(64), eps=1e-6)
    bound = max(2.0**-27, np.abs(real).max() * 2.0**-23)
    assert norm.eps_exponent == 8 and np.abs(y * np.sqrt(64 / S) - real).max() < bound


def test_bit_linear_is_the_float_one_to_a_unit(rng, pair):
    """The float product, from the same codes in float64, differs by half a unit and by 1 part in 2^27."""
    running, model = pair
    x, block = rng.integers(-2**22, 2**22, (32, 2, 5)), model.blocks[0]
    y, S = integer.normed(block.input_layernorm, x)
    out = integer.bit_linear(block.v, integer.quantized(y, S))
    w = running.layers[0].self_attn.v_proj.weight.data
    gain = converted(running)[1].get("layers.0.input_layernorm.weight")
    scale = absmax_int8(float_norm(x * 2.0**-model.bits, gain, running.config.norm_eps)).scale
    codes = integer.quantized(y, S).codes.astype(float)
    real = ops.quantized_linear.forward(Quantized(codes, scale), Quantized(*(a.astype(float) for a in w)))
    assert np.abs(out - real * 2.0**model.bits).max() < 0.5 + np.abs(out).max() * 2**-20


def test_rotation_is_ropes(rng):
    x = rng.integers(-2**26, 2**26, (24, 2, 20))
    cos, sin = (np.repeat(t[:, None].astype(float), 2, axis=1) for t in ops.rotary_tables(8, 20, 100.0))
    tables = np.rint(np.ldexp(ops.rotary_tables(8, 20, 100.0), 14)).astype(np.int16)
    real = ops.rope.forward(x.astype(float), cos=cos, sin=sin)
    assert np.abs(integer.rotated(x, tables) - real).max() < 2**26 * 2**-14


@pytest.mark.parametrize("queries", [1, 5, 150])           # one with a cache, some, more than a block of them
def test_attention_is_the_float_one_on_the_same_keys_and_values(rng, queries):
    S, D, bits = 150, 8, 16
    q = rng.standard_normal((4 * D, 2, queries)) * 3
    k, v = rng.integers(-127, 128, (2, 2, D, 2, S)).astype(np.int8)
    gamma_k, gamma_v = rng.integers(2**14, 2**18, (2, 2, 2, S)).astype(np.int32)
    queries = np.rint(q * 2**bits * 128 / 127 / np.log(2) / D**0.5).astype(np.int64)
    o = integer.attention(queries, k, gamma_k, v, gamma_v, bits)
    keys, values = ((codes * (gamma[:, None] / 127 / 2**bits)).reshape(-1, 2, S)
                    for codes, gamma in ((k, gamma_k), (v, gamma_v)))
    real = ops.causal_attention.forward(q, keys, values, head_dim=D)
    assert np.abs(o / 2**(bits + 1) / 127 - real).max() < 1e-3 * np.abs(real).max()


def test_gates_are_the_float_ones(rng):
    x = np.append(rng.integers(-2**24, 2**24, 1000), [0, 2**28 - 1, 1 - 2**28])
    ones = np.ones(x.shape)
    assert np.allclose(integer.silu(x, 20) / 2**44, ops.swiglu.forward(x / 2**20, ones), rtol=2e-6, atol=2e-6)
    assert np.array_equal(integer.relu2(x, 20) / 2**40, ops.relu2_gate.forward(x / 2**20, ones))


def test_rows_take_the_bits_that_fit():
    """Row 0's largest is 0.75: 15 bits hold it as 24576; row 1's is 3: 13 bits; row 2 is so
    small that only `most` stops it."""
    matrix = float16.scaled_rows(np.float32([[0.75, -0.5], [3, 0], [2**-12, 0]]), most=20)
    assert matrix.bits.tolist() == [15, 13, 20]
    assert matrix.codes.tolist() == [[24576, -16384], [24576, 0], [256, 0]]


def test_a_row_just_below_a_power_of_two_stays_in_int16():
    """0.999999 * 32768 = 32767.97 would be 32768, which int16 reads as -32768."""
    matrix = float16.scaled_rows(np.float32([[0.999999, -0.999999], [1, -1]]), most=20)
    assert matrix.bits.tolist() == [15, 14] and matrix.codes.tolist() == [[32767, -32768], [16384, -16384]]


# ---- the whole

def test_logits_are_close_to_the_float_engines(pair, ids):
    """Codes near a half flip, so single logits move; on average the two engines differ by less
    than 3 % of the logits' spread."""
    running, model = pair
    real, logits = running(ids).data, model(ids)
    assert logits.dtype == np.int32 and logits.shape == (40, 3, 12)
    assert np.sqrt(np.square(logits * model.logit_scale - real).mean()) < 0.03 * real.std()


def test_the_comparison_sees_a_wrong_scale(pair, ids):
    """A single matrix's scale off by 10 % is more than the engines' own
    difference: the test above is not idle."""
    running, model = pair
    down = model.blocks[1].down
    model.blocks[1] = model.blocks[1]._replace(down=down._replace(mantissa=down.mantissa * 9 // 10))
    real = running(ids).data
    assert np.sqrt(np.square(model(ids) * model.logit_scale - real).mean()) > 0.03 * real.std()


@pytest.mark.parametrize("pieces", [[1] * 12, [5, 1, 1, 5], [11, 1]])
def test_decoding_in_pieces_gives_the_same_integers(pair, ids, pieces):
    _, model = pair
    caches, ends = model.new_caches(batch=3), np.cumsum(pieces)
    steps = [model(ids[:, end - n:end], caches) for n, end in zip(pieces, ends)]
    assert np.array_equal(np.concatenate(steps, axis=2), model(ids))
    assert caches[0].length == 12 and caches[0].k.dtype == np.int8


def test_a_block_border_changes_nothing(rng):
    """Queries go in blocks of 64; the keys of 100 positions come whole, or one by one."""
    _, model = engines(ModelConfig(**SIZES | {"context": 100, "n_layers": 1}))
    ids, caches = rng.integers(0, 40, (1, 100)), model.new_caches()
    one_by_one = [model(ids[:1, t:t + 1], caches, last=True) for t in range(100)]
    assert np.array_equal(np.concatenate(one_by_one, axis=-1), model(ids)[:, :1])


def test_the_head_in_blocks_of_rows_gives_the_same_integers(pair, ids, monkeypatch):
    """Blocks of 3 rows: the last of 40 is alone."""
    _, model = pair
    whole = model(ids)
    monkeypatch.setattr(float16, "ROWS", 3 * 32)
    assert np.array_equal(model(ids), whole)


def test_conversion_lets_go_of_the_files_matrices():
    running = Transformer(ModelConfig(**SIZES)).quantized()
    matrices, arrays = converted(running)
    IntegerModel(running.config, matrices, arrays)
    assert matrices == {} and all(a.ndim == 1 for a in arrays.values())


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), BFLOAT16])
def test_conversion_takes_little_more_than_what_it_makes(dtype):
    """Embedding and head of 6.4 million numbers each, 2 bytes for each in the model. Widened as a whole, one
    of them would take 51 MB."""
    c = ModelConfig(**SIZES | {"vocab_size": 200_000, "n_layers": 1})
    matrices, arrays = converted(Transformer(c).quantized())
    arrays = {name: rounded(a, dtype) for name, a in arrays.items()}
    tracemalloc.start()
    try:
        model = IntegerModel(c, matrices, arrays)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < model.embedding.codes.nbytes + model.head.codes.nbytes + 16_000_000


def test_the_bytes_of_a_cache():
    """Two heads of four features, batch 3, context 5: 2 * 2 * 4 * 15 codes of a byte
    and 2 * 2 * 15 scales of four."""
    assert integer.Cache(2, 4, 3, 5).nbytes == 240 + 240


def test_a_sequence_alone_and_in_a_batch_gives_the_same_integers(pair, ids):
    _, model = pair
    assert np.array_equal(model(ids[1:2]), model(ids)[:, 1:2])


def test_later_tokens_change_no_earlier_logits(pair, ids):
    _, model = pair
    other = np.where(np.arange(12) < 7, ids, (ids + 1) % 40)
    assert np.array_equal(model(ids)[..., :7], model(other)[..., :7])
    assert not np.array_equal(model(ids), model(other))


def test_a_full_context_slides_in_decode_and_is_refused_by_the_model(pair, ids):
    _, model = pair
    assert len(list(decode(model, [1, 2, 3], 30, temperature=0))) == 30
    with pytest.raises(ValueError, match="13 tokens: expected at most the context of 12"):
        model(np.zeros((1, 13), np.int64))


def test_greedy_decoding_is_the_argmax_of_the_whole_sequence(pair):
    _, model = pair
    ids = [1, 2, 3, *decode(model, [1, 2, 3], 9, temperature=0)]
    assert model(np.array([ids]))[:, 0, 2:-1].argmax(0).tolist() == ids[3:]


# ---- golden numbers: with these a port to another language checks itself

def golden_model(c):
    """Made without a float that a machine could round in its own way: s <- (1103515245 s + 12345) mod 2^31
    from s = 1, and each next s >> 16 gives, tensor by tensor in the order below and row by row, a weight code
    ((s >> 16) mod 3 - 1; binary: 2 ((s >> 16) mod 2) - 1) or another number (((s >> 16) mod 255 - 127) / 64,
    gains ((s >> 16) mod 255 + 1) / 128); the scale of layer l is 1 / (2 + l)."""
    s = 1

    def stream(*shape):
        nonlocal s
        out = np.empty(math.prod(shape), np.int64)
        for i in range(out.size):
            s = (1103515245 * s + 12345) % 2**31
            out[i] = s >> 16
        return out.reshape(shape)
    D, K, F, matrices, arrays = c.d_model, c.n_kv_heads * c.head_dim, c.d_ffn, {}, {}
    arrays["embed_tokens.weight"] = (stream(c.vocab_size, D) % 255 - 127) / 64
    for i in range(c.n_layers):
        for name, n, m in (("self_attn.q_proj", D, D), ("self_attn.k_proj", K, D), ("self_attn.v_proj", K, D),
                           ("self_attn.o_proj", D, D), ("mlp.gate_proj", F, D), ("mlp.up_proj", F, D),
                           ("mlp.down_proj", D, F)):
            codes = stream(n, m) % 3 - 1 if c.linear == "ternary" else 2 * (stream(n, m) % 2) - 1
            scale = np.float32(1 / (2 + i))
            matrices[f"layers.{i}.{name}.weight"] = PackedMatrix(pack_ternary(codes), n, scale)
        if c.linear == "ternary":
            for name, size in (("input_layernorm", D), ("self_attn.attn_sub_norm", D),
                               ("post_attention_layernorm", D), ("mlp.ffn_sub_norm", F)):
                arrays[f"layers.{i}.{name}.weight"] = (stream(size) % 255 + 1) / 128
    arrays["norm.weight"] = (stream(D) % 255 + 1) / 128
    if not c.tied:
        arrays["lm_head.weight"] = (stream(c.vocab_size, D) % 255 - 127) / 64
    return IntegerModel(c, matrices, {name: a.astype(np.float32) for name, a in arrays.items()})


GOLDEN_SIZES = {"vocab_size": 8, "d_model": 8, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1, "d_ffn": 12,
                "context": 8, "norm_eps": 2.0**-20}
GOLDEN = {
    "ternary, SwiGLU, untied": (
        ModelConfig(**GOLDEN_SIZES), (20, 16), (1112684167, -39), (1518500250, -35),
        [156341, 357866, -86368, 472422, 407539, 198432, -94502, -276574],
        "24167f14bd12e147a1ed4ebe475f033567ad68b5edbe1e94fd5d8cc1b7a257d8"),
    "binary, ReLU^2, tied": (
        ModelConfig(**GOLDEN_SIZES, linear="binary", activation="relu2", tied=True),
        (20, 16), (1112684167, -17), (1518500250, -35),
        [407037, -21737, 98421, -231574, -52519, 39885, 113884, 99720],
        "8219a4b887494ecf4ecac1c83d6b6c8950742ea94ba62f49fe239e772aa805f0"),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_logits(name):
    """Of tokens 0 to 7: the bits, the mantissas and exponents of block 0's q and of the head, logits of token
    7, SHA-256 of all (token by token, four bytes each, the lowest first)."""
    c, bits, q, head, last, digest = GOLDEN[name]
    model = golden_model(c)
    logits = model(np.arange(8)[None])[:, 0].T
    assert (model.bits, model.logit_bits) == bits
    assert model.blocks[0].q[1:] == q and (model.logit_mantissa, model.logit_exponent) == head
    assert logits[-1].tolist() == last
    assert hashlib.sha256(logits.astype("<i4").tobytes()).hexdigest() == digest


# ---- ranges

def test_no_output_exceeds_its_bound_and_one_comes_near():
    """Row 0 is all ones, the token too: |n| = sqrt(m), the largest sum there is, 64 s_w (and
    1/4 more for the rounding of x~)."""
    w, ones = np.vstack([np.ones(64), np.eye(64)[0]]), np.ones((64, 1, 1), np.int64)
    bound = largest_output(w, 0.5, None)
    x = integer.quantized(*integer.normed(integer_norm(None, False, 64, 0.0, 1.0)[0], ones << 20))
    linear = IntegerBitLinear(kernels.bit_planes(w), *fixed_point.mantissa(0.5 / 127 * 8 * 2**16))
    y = integer.bit_linear(linear, x)[0, 0, 0] / 2**16
    assert y == pytest.approx(32, rel=1e-6) and y <= bound < 1.3 * y


def test_bounds_hold_for_tokens_that_look_for_them(rng, pair):
    """Tokens along each row of W gain, where Cauchy and Schwarz are equal, and random ones."""
    block = pair[1].blocks[0]
    for w, norm in ((block.q, block.input_layernorm), (block.down, block.ffn_sub_norm)):
        rows = kernels.unpack(w.planes).T.astype(np.int64) * (1 if norm.gain is None else norm.gain[:, None])
        x = np.hstack([rows, rng.integers(-2**27, 2**27, rows.shape)])[:, None]
        assert np.abs(integer.bit_linear(w, integer.quantized(*integer.normed(norm, x)))).max() < 2**28


def test_a_norm_at_its_limits_is_exact():
    """2^15 features of 2^62 - 1 and the largest gain: narrowed to 2^23 each, S = 2^15 2^46 = 2^61, y =
    2^46."""
    norm = Norm(np.full(2**15, 2**23, np.int32), False, 0, 0)
    y, S = integer.normed(norm, np.full((2**15, 1, 1), 2**62 - 1))
    assert S == 2**61 and (y == 2**46).all() and (integer.absmax_codes(y)[0] == 127).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_attention_at_its_limits_is_exact(sign):
    """8,192 equal keys and values of the largest size, in a head of 512: every weight is
    1, so the output is the value."""
    scale, codes = np.full((1, 1, 8192), 2**28 - 1, np.int32), np.full((1, 512, 1, 8192), 127, np.int8)
    q = np.full((512, 1, 1), sign * (2**28 - 1))
    o = integer.attention(q, codes, scale, (sign * codes).astype(np.int8), scale, 12)
    assert (o == sign * 2 * 127 * (2**28 - 1)).all()


def product_of_codes(w, norm, scale, x, bits=0):
    """W^ x^ of tokens x (m, B, T) in units of 2^-bits, with a Norm of unit 1."""
    mantissa = fixed_point.mantissa(scale / 127 * len(x)**0.5 * 2.0**bits)
    linear = IntegerBitLinear(kernels.bit_planes(w), *mantissa)
    return integer.bit_linear(linear, integer.quantized(*integer.normed(norm, x)))


def test_rounding_codes_can_double_an_output_and_the_bound_knows_it():
    """n = 1 everywhere and gains 253, 1, 1 ...: x~ = 127, round(127/253 = 0.502) = 1, so a row that skips
    feature 0 gives 63 * 253/127 = 125.5. By Cauchy and Schwarz it would be sqrt(63) 8 = 63.5 at most; the
    rounding may add 63 * 8 * 253/254 = 502."""
    gain, w = np.float32([253] + [1] * 63), np.float32([[0] + [1] * 63])
    norm, unit = integer_norm(gain, False, 64, 0.0, 1.0)
    y = product_of_codes(w, norm, unit, np.full((64, 1, 1), 2**20), bits=8)
    assert y == round(63 * 253 / 127 * 256)
    assert largest_output(w, 1.0, gain) == pytest.approx(1.001 * (63.5 + 502), abs=0.1)


def bits_of(name, bound, head_dim=4, layers=1):
    """activation_bits where one matrix alone, of a row [s], decides; its largest output is ``bound``."""
    one = np.ones((1, 1))
    matrix = PackedMatrix(pack_ternary(one), 1, np.float32(bound / largest_output(one, 1.0, None)))
    matrices = {f"layers.{i}.{name}.weight": matrix for i in range(layers)}
    arrays = {"embed_tokens.weight": np.zeros((1, 1), np.float32)}
    return activation_bits(SimpleNamespace(head_dim=head_dim), matrices, arrays)


def test_bits_by_pencil():
    """A bound of 0.9 2^10 leaves 28 - 10 bits. A key is rotated, so 0.9 sqrt 2 = 1.27 counts and
    takes one more, 0.7 sqrt 2 = 0.99 does not. A query is multiplied by 128/127 log2(e) / sqrt(2) =
    1.028 in heads of two: 0.7 sqrt 2 1.028 = 1.02 takes one more as well. Two layers' 0.4 add up to
    0.8 in the residual stream, 0.6 to 1.2."""
    assert [bits_of("mlp.down_proj", b * 2**10) for b in (0.9, 1.1)] == [18, 17]
    assert [bits_of("self_attn.k_proj", b * 2**10, head_dim=2) for b in (0.7, 0.9)] == [18, 17]
    assert [bits_of("self_attn.q_proj", 0.7 * 2**10, head_dim=D) for D in (2, 4)] == [17, 18]
    assert [bits_of("self_attn.o_proj", b * 2**10, layers=2) for b in (0.4, 0.6)] == [18, 17]


def test_the_largest_query_of_the_smallest_head_stays_below_its_range():
    """Two heads of two, rows and token of ones: 2 * 4 s. At position 18 the angle 18 - 6 pi = -0.85 is close
    to a diagonal: 1.41 times longer. The scale is the largest for 14 bits, were it not for the factor 1.028
    of queries, with which 2^28 would be passed."""
    c = ModelConfig(**SIZES | {"d_model": 4, "n_heads": 2, "context": 19, "n_layers": 1})
    ones = np.ones((4, 4))
    matrices, arrays = converted(Transformer(c).quantized())
    scale = np.float32(2**14 / 1.0001 / 2**0.5 / largest_output(ones, 1.0, None))
    matrices["layers.0.self_attn.q_proj.weight"] = PackedMatrix(pack_ternary(ones), 4, scale)
    model = IntegerModel(c, matrices, arrays)
    x = integer.quantized(*integer.normed(model.blocks[0].input_layernorm, np.full((4, 1, 1), 2**20)))
    q = integer.rotated(integer.bit_linear(model.blocks[0].q, x), model.rotary[..., 18:])
    assert model.bits == 13 and 2**27 < np.abs(q).max() < 2**28


def with_head(c, head, gain):
    """An IntegerModel with this head and final gain, and logits of tokens (C, B, T)."""
    matrices, arrays = converted(Transformer(c).quantized())
    arrays |= {"lm_head.weight": head.astype(np.float32), "norm.weight": gain.astype(np.float32)}
    return IntegerModel(c, matrices, arrays)


def test_the_largest_logit_takes_all_of_its_range():
    """A row of 1016 and a token of ones: 64 * 1016 = 0.992 2^16, so 12 bits and 0.992 2^28
    (0.001 is left for roundings)."""
    model = with_head(ModelConfig(**SIZES | {"d_model": 64}), np.full((40, 64), 1016), np.ones(64))
    logits = model.score(np.full((64, 1, 1), 2**20))
    assert model.logit_bits == 12 and (logits >> 16 == int(0.992 * 2**12)).all()


def test_a_feature_that_the_head_ignores_overflows_no_logit():
    """With a gain of 8,750 it decides by how many bits y is narrowed: x = 1.88 there becomes 8,225 and the 63
    ones 0.5, which goes to 1. The logit is then 63 * 2 / |n| = 124 times the row's 1,000, where Cauchy and
    Schwarz say 63.5: 1.9 2^28, were only they asked."""
    head, gain = np.tile(np.append(0, np.full(63, 1000)), (40, 1)), np.append(8750, np.ones(63))
    model = with_head(ModelConfig(**SIZES | {"d_model": 64}), head, gain)
    logits = model.score(np.append(int(1.88 * 2**20), np.full(63, 2**20))[:, None, None])
    assert (logits * model.logit_scale > 123_000).all() and logits.max() < 2**28


def test_an_untied_head_keeps_15_bits_of_any_row():
    """0.75 2^-30 takes 45 bits to the 24,576 that 0.75 is in row 0; a tied head is the embedding, whose rows
    stop at ``model.bits``."""
    model = with_head(ModelConfig(**SIZES), np.outer(2.0 ** -np.arange(40), np.full(32, 0.75)), np.ones(32))
    assert model.head.bits.tolist() == [*range(15, 55)] and (model.head.codes == 24576).all()


def test_activations_take_as_many_bits_as_their_bound_allows(pair):
    """Below 2^8 a bound leaves all 20 bits after the point; then each doubling of it
    takes one, down to the twelfth."""
    running, model = pair
    matrices, arrays = converted(running)

    def scaled(n):
        return {name: w._replace(scale=w.scale * 2**n) for name, w in matrices.items()}, arrays
    assert model.bits == 20
    assert np.diff([activation_bits(running.config, *scaled(n)) for n in (6, 7, 8)]).tolist() == [-1, -1]
    with pytest.raises(UserError, match="activations may reach .* the integer engine holds up to 65,536"):
        IntegerModel(running.config, *scaled(16))


@pytest.mark.parametrize("linear", ["a48", "v2"])
def test_activations_of_fewer_bits_have_no_integer_form(linear):
    model = Transformer(ModelConfig(**SIZES | {"linear": linear}))
    with pytest.raises(UserError, match=f"linear = '{linear}': expected activations of 8 bits"):
        IntegerModel(model.config, *converted(model.quantized()))


def test_a_model_without_sub_norms_has_no_integer_form():
    model = Transformer(ModelConfig(**SIZES | {"linear": "ternary_llama"}))
    with pytest.raises(UserError, match="linear = 'ternary_llama': expected norms before o and down"):
        IntegerModel(model.config, *converted(model.quantized()))


def test_a_scale_near_float32s_largest_is_refused_in_one_line(pair):
    """Bounds are added up in Python's floats: in float32, 3e38 times anything is infinite,
    and has no whole number of bits."""
    matrices, arrays = converted(pair[0])
    matrices = {name: w._replace(scale=np.float32(3e38)) for name, w in matrices.items()}
    message = "activations may reach .*e\\+4.*: the integer engine holds up to 65,536"
    with pytest.raises(UserError, match=message):
        IntegerModel(pair[0].config, matrices, arrays)


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("name", ["layers.1.mlp.up_proj.weight", "embed_tokens.weight", "norm.weight"])
def test_what_is_not_finite_is_refused(pair, name, value):
    matrices, arrays = converted(pair[0])
    if name in matrices:
        matrices[name] = matrices[name]._replace(scale=np.float32(value))
    else:
        arrays[name] = np.full_like(arrays[name], value)
    with pytest.raises(UserError, match=f"{name} holds values that are not finite"):
        IntegerModel(pair[0].config, matrices, arrays)


@pytest.mark.parametrize("field, value, text", [
    ("context", 8193, "context = 8,193"), ("d_model", 8200, "d_model = 8,200"),
    ("d_ffn", 32769, "d_ffn = 32,769"), ("vocab_size", 2**20 + 1, "vocab_size = 1,048,577"),
    ("d_model", 4 * 514, "head_dim = 514"), ("linear", "float", "linear = 'float'")])
def test_what_the_proof_does_not_cover_is_refused(field, value, text):
    with pytest.raises(UserError, match=text):
        IntegerModel(ModelConfig(**SIZES | {field: value}), {}, {})


# ---- systems of 32 bits

class NumPyOf32Bits:
    """In place of a module's np: what searchsorted returns has 32 bits, as it has where an index has."""

    def __getattr__(self, name):
        if name == "searchsorted":
            return lambda *args, **options: np.searchsorted(*args, **options).astype(np.int32)
        return getattr(np, name)


def test_a_system_of_32_bits_gives_the_same_logits(pair, ids, monkeypatch):
    """Lengths are of 64 bits all the same. Were they not, a shift by 31 and more would add half of the wrong
    number: 1 << 31 is -2^31 there."""
    _, model = pair
    expected = run(model, ids, [], None)[0]
    monkeypatch.setattr(fixed_point, "np", NumPyOf32Bits())
    assert fixed_point.np.searchsorted([1, 2], [2]).dtype == np.int32
    assert fixed_point.bit_length(np.array([7])).dtype == np.int64
    assert np.array_equal(run(model, ids, [], None)[0], expected)

    def of_32_bits(x):
        return np.searchsorted(fixed_point.POWERS_OF_2, x, side="right").astype(np.int32)
    for module in (fixed_point, integer):                  # the comparison sees lengths of 32 bits
        monkeypatch.setattr(module, "bit_length", of_32_bits)
    assert not np.array_equal(run(model, ids, [], None)[0], expected)


# ---- no float, no overflow: arrays that raise, NumPy that raises, and source that has no float

class Trapped(Exception):
    """A float where none may be, or an integer that is not the one of Python's unbounded arithmetic."""


def refuse(x):
    """x, or Trapped if there is a float in it."""
    if isinstance(x, (tuple, list)):
        for part in x:
            refuse(part)
    elif isinstance(x, dict):
        refuse(list(x.values()))
    else:
        number = isinstance(x, (np.ndarray, np.dtype))
        kind = x if isinstance(x, type) else getattr(x, "dtype", type(x)).type if number else type(x)
        if issubclass(kind, (float, complex, np.inexact)):
            raise Trapped(kind.__name__)
    return x


def disguise(x):
    """x, its arrays as Whole."""
    if isinstance(x, (tuple, list)):
        parts = [disguise(part) for part in x]
        return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)
    return refuse(x).view(Whole) if isinstance(x, np.ndarray) else x


def bare(x):
    if type(x) in (tuple, list):
        return type(x)(bare(part) for part in x)
    return x.view(np.ndarray) if isinstance(x, Whole) else x


GROWING = (np.add, np.subtract, np.multiply, np.left_shift, np.negative, np.absolute)


class Whole(np.ndarray):
    """An array that raises Trapped in any operation with a float among its arguments or results,
    and where an integer overflows."""

    def __array_finalize__(self, parent):                  # of views, copies, casts, slices
        refuse(self.dtype.type)

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        refuse((inputs, options))
        exact = unbounded(inputs)                          # before an input is written over
        result = refuse(getattr(ufunc, method)(*bare(inputs), **{k: bare(v) for k, v in options.items()}))
        if ufunc in GROWING and method in ("__call__", "reduce"):
            shapes = {k: v for k, v in options.items() if k in ("axis", "keepdims")}
            same(result, getattr(ufunc, method)(*exact, **shapes))
        return disguise(result)

    def __array_function__(self, function, types, args, options):
        refuse((args, options))
        result = refuse(super().__array_function__(function, types, args, options))
        if function is np.einsum:
            same(result, np.einsum(*unbounded(args)))
        return disguise(result)

    def astype(self, dtype, **options):
        return disguise(same(bare(self).astype(refuse(np.dtype(dtype)), **options), bare(self)))


def unbounded(args):
    return [x if isinstance(x, str) else bare(np.asarray(x)).astype(object) for x in args]


def same(result, exact):
    if not np.array_equal(result, exact):
        raise Trapped("overflow")
    return result


class NumPyWithoutFloats:
    """In place of a module's np: what its functions return is trapped too, and float types are not there."""

    def __getattr__(self, name):
        value = refuse(getattr(np, name))
        if isinstance(value, (type, np.ufunc)) or not callable(value):
            return value
        return lambda *args, **options: disguise(refuse(value(*refuse(args), **refuse(options))))


class NoMath:
    prod = staticmethod(math.prod)                         # of shapes

    def __getattr__(self, name):
        raise Trapped(f"math.{name}")


def trapped(model):
    """A copy of an IntegerModel of Whole arrays, integers and nothing else; its
    configuration keeps only sizes and words."""
    def checked(x):
        if isinstance(x, (tuple, list)):
            for part in x:
                checked(part)
        elif not isinstance(x, (np.ndarray, int, str, type(None))):
            raise Trapped(f"{type(x).__name__} in the model")
        return disguise(x)
    copy = object.__new__(IntegerModel)
    vars(copy).update({name: checked(value) for name, value in vars(model).items() if name != "config"})
    sizes = {name: value for name, value in vars(model.config).items() if type(value) in (int, str, bool)}
    copy.config = SimpleNamespace(**sizes, head_dim=model.config.head_dim)
    return copy


class Draws:
    """A generator that can only draw integers."""

    def __init__(self):
        self.integers = np.random.default_rng(0).integers


@pytest.fixture
def no_floats(monkeypatch):
    def arm_the_trap():
        for module in (fixed_point, integer, kernels, sampling):
            for name, value in vars(module).items():
                if isinstance(value, np.ndarray):
                    monkeypatch.setattr(module, name, disguise(value))
            monkeypatch.setattr(module, "np", NumPyWithoutFloats())
            if hasattr(module, "math"):
                monkeypatch.setattr(module, "math", NoMath())
    return arm_the_trap


def run(model, ids, choosers, rng):
    """All ids at once, then from a cache; the next token by each chooser."""
    logits, caches = model(ids), model.new_caches()
    last = [model(ids[:1, t:t + 1], caches, last=True) for t in range(4)][-1][:, 0, 0]
    return logits, [choose(last, rng) for choose in choosers]


def test_from_ids_to_the_chosen_token_there_is_no_float_and_no_overflow(pair, ids, no_floats):
    """The trapped run ends with arrays that still carry the trap (nothing slipped out of
    it), and with the same integers."""
    _, model = pair
    settings = (0, 0, 1.0), (0.8, 5, 1.0), (1.0, 0, 0.9)
    choosers = [sampler(*setting, model.logit_bits) for setting in settings]
    expected = run(model, ids, choosers, Draws())
    no_floats()
    logits, chosen = run(trapped(model), disguise(ids), choosers, Draws())
    assert type(logits) is Whole and logits.dtype == np.int32
    assert np.array_equal(bare(logits), expected[0]) and chosen == expected[1]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("scale, gain", [(2**9, 1), (2**-14, 1), (2**5, 30), (1, 2**-12)])
def test_extreme_models_do_not_overflow(name, scale, gain, no_floats, ids):
    """Activations with 12 or 13 bits after the point, or almost all zeros; the
    gains of one norm from 2^-12 to 60."""
    running, _ = engines(CONFIGS[name])
    matrices, arrays = converted(running)
    arrays |= {key: a * np.where(np.arange(len(a)) % 3, 1, gain).astype(np.float32)
               for key, a in arrays.items() if a.ndim == 1}
    matrices = {key: w._replace(scale=w.scale * scale) for key, w in matrices.items()}
    model = IntegerModel(running.config, matrices, arrays)
    expected = model(ids)
    no_floats()
    assert np.array_equal(bare(trapped(model)(disguise(ids))), expected)


PLANTS = {
    "a float scale": lambda y: y * 0.5,
    "a true division": lambda y: y / 2,
    "a mean": lambda y: y - y.mean(),
    "a root": lambda y: np.sqrt(np.abs(y)),
    "a cast": lambda y: y.astype(np.float32).astype(np.int64),
    "a view": lambda y: y.view(np.float64),
    "a sum in floats": lambda y: y.sum(0, dtype=np.float64),
    "a comparison with a float": lambda y: y > 0.5,
    "a float array": lambda y: y + np.ones(y.shape),
    "a product with one": lambda y: np.einsum("cbt,c->bt", y, np.ones(len(y))),
    "an overflow": lambda y: y << 50,
    "a cast that overflows": lambda y: y.astype(np.int8),
    "a sum that overflows": lambda y: np.einsum("cbt,cbt->bt", y << 30, y << 30),
    "a float in place": lambda y: np.multiply(y, 1.5, out=y, casting="unsafe"),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_float_or_overflow_is_caught(plant, ids, no_floats, monkeypatch):
    _, model = engines(CONFIGS["ternary"])
    whole = integer.bit_linear
    no_floats()
    monkeypatch.setattr(integer, "bit_linear", lambda w, x: PLANTS[plant](whole(w, x)))
    with pytest.raises(Trapped):
        trapped(model)(disguise(ids))


@pytest.mark.parametrize("code", [
    "np.zeros(3)", "np.asarray([1, 2], float)", "np.asarray(a, 'f4')", "np.linspace(0, 3, 4)",
    "np.float32(1)", "math.sqrt(2)"])
def test_a_float_that_numpy_or_math_would_make_is_caught(code, no_floats):
    """These do not begin with a trapped array: the modules' np and math are trapped as well."""
    no_floats()
    with pytest.raises(Trapped):
        eval(code, {"np": integer.np, "math": kernels.math, "a": np.arange(3)})      # integer has no math


@pytest.mark.parametrize("name, value", [
    ("bits", 20.0), ("rotary", np.ones((2, 4, 12))),
    ("blocks", [Norm(np.ones(3, np.float32), False, 0, 0)]),
    ("blocks", [IntegerBitLinear(np.ones((2, 2), np.int8), 1.5, 0)]), ("extra", {"hidden": 1.5})])
def test_a_float_in_the_model_is_caught(name, value):
    """So the test above runs on a model of which every number is an integer,
    and every array carries the trap."""
    _, model = engines(CONFIGS["ternary"])
    setattr(model, name, value)
    with pytest.raises(Trapped):
        trapped(model)


def floats_in(source, only=None):
    """What divides to a float or names one in this source, or in these functions of it:
    Python's own numbers carry no trap."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    named = [function for function in functions if function.name in (only or ())]
    assert len(named) == len(only or ()), f"{only} are not all there"
    for part in named if only else [tree]:
        yield from (ast.unparse(node) for node in ast.walk(part) if makes_float(node))


def makes_float(node):
    """Division, a power unless it is surely of a whole exponent >= 0, a constant, a
    name. math.prod is for shapes."""
    if isinstance(node, (ast.BinOp, ast.AugAssign)):
        return isinstance(node.op, ast.Div) or isinstance(node.op, ast.Pow) and not whole_power(node)
    if isinstance(node, ast.Attribute):
        return "float" in node.attr or ast.unparse(node.value) == "math" and node.attr != "prod"
    return isinstance(node, ast.Constant) and isinstance(node.value, (float, complex)) \
        or isinstance(node, ast.Name) and node.id in ("float", "pow")


def whole_power(node):
    exponent = node.right if isinstance(node, ast.BinOp) else node.value
    return isinstance(exponent, ast.Constant) and isinstance(exponent.value, int)    # -1 is two nodes


def test_the_source_between_id_and_token_has_no_float():
    assert list(floats_in(inspect.getsource(integer))) == []
    functions = {name for name, value in vars(fixed_point).items() if inspect.isfunction(value)}
    whole = functions - {"mantissa", "exp"}                # the one for conversion, and an import
    assert list(floats_in(inspect.getsource(fixed_point), only=whole)) == []
    assert list(floats_in(inspect.getsource(sampling), only={"sample_integer"})) == []
    assert list(floats_in(inspect.getsource(kernels), only={"matmul", "by_bit_planes", "_words"})) == []


@pytest.mark.parametrize("code", ["int(a / 2)", "int(a * 0.5)", "int(float(a))", "math.floor(a)",
                                  "np.float32(a)", "a * 2 ** -3", "2**a", "pow(2, a)"])
def test_the_search_finds_a_planted_float(code):
    assert list(floats_in(f"def f(a):\n    return {code}"))


def test_the_search_lets_whole_numbers_pass():
    assert list(floats_in("def f(a):\n    a **= 2\n    return 2**30 * a // math.prod(a.shape)")) == []
