"""Operations counted while a model runs, against what a pencil says."""
from collections import Counter

import numpy as np
import pytest

from minibitnet.language_model import FloatEngine
from minibitnet import exact, exact_attention
from minibitnet.experiments import operations
from minibitnet.measure.counting import count, counted, counting
from minibitnet.inference import kernels
from minibitnet.nn import ops
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

C = {"vocab_size": 30, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ffn": 24, "context": 12}
WEIGHTS = 2 * (4 * 16 * 16 + 3 * 16 * 24)       # of the projections
T = 12


def tallied(function, *arguments, component="the rest"):
    """{(kind, dtype): operations} of a function of arrays."""
    tally = Counter()
    with counting(tally):
        function(*(counted(a) for a in arguments))
    assert {name for name, _, _ in tally} <= {component}
    return {(kind, dtype): n for (_, kind, dtype), n in tally.items()}


def of(tally, component, kind, dtype="float32"):
    return tally[component, kind, dtype]


def ids(n=T):
    return np.random.default_rng(0).integers(0, 30, (1, n))


def test_a_product_by_pencil():
    """(2, 3) times (3, 4): 2 * 3 * 4 multiplications, 2 * 2 * 4 additions.   [bitnet] eqs. 16-17"""
    a, b = np.ones((2, 3), np.float32), np.ones((3, 4), np.float32)
    expected = {("multiplications", "float32"): 24, ("additions", "float32"): 16}
    for product in (np.matmul, lambda a, b: exact.product(exact.whole(a, 1, -1), exact.whole(b, 1, 0)),
                    lambda a, b: np.einsum("ij,jk->ik", a, b)):
        assert tallied(product, a, b) == expected


# of four numbers
POWERS_OF_TWO = {dtype: {("additions", dtype): 4, ("word operations", dtype): 4}
                 for dtype in ("int32", "int64")}


@pytest.mark.parametrize("rounded, expected", [
    (lambda x: exact.fine(x, 0), POWERS_OF_TWO["int64"] | {("comparisons", "float32"): 12 + 8,
                                                           ("multiplications", "float64"): 4 + 4,
                                                           ("additions", "float64"): 2 * 12}),
    (lambda x: exact.on_grid(x, 0, 2.0**12),
     POWERS_OF_TWO["int32"] | {("multiplications", "float32"): 12 + 4 + 4, ("additions", "float32"): 8 + 2
                               * 12,
                                                                       ("divisions and functions",
                                                                        "float32"): 4,
                               ("comparisons", "float32"): 3 + 3}),
    (lambda x: exact.on_grid(x.T, -1, 2.0**12),
     POWERS_OF_TWO["int32"] | {("multiplications", "float32"): 12 + 4 * 4, ("additions", "float32"): 8 + 2
                               * 12,
                                                ("divisions and functions", "float32"): 4 + 4,
                               ("comparisons", "float32"): 3 + 3 + 4,
                                                ("comparisons", "bool"): 3}),
    (lambda x: exact.on_one_grid(x, 2.0**12, 3),
     {("comparisons", "float32"): 11 + 11, ("additions", "float32"): 2 * 12}),
    (exact_attention.shared_out,
     POWERS_OF_TWO["int64"] | {("comparisons", "float32"): 12 + 8 + 4, ("comparisons", "float64"): 3,
                               ("divisions and functions", "float64"): 4,
                               ("multiplications", "float64"): 12, ("additions", "float64"): 2 * 12})])
def test_rounding_to_grids_by_pencil_is_a_part_of_its_own(rounded, expected):
    """(3, 4) numbers take two additions each. Before, for a unit of each of 4 columns: ``fine`` 12 + 8
    comparisons for the largest |x|, and two factors a column; ``on_grid`` 12 squares, 8 additions, a root
    and two factors a column, 3 + 3 comparisons of the squared norms' ends; along the last axis two more
    factors, a half and a comparison each, and 3 of whether one is true, to see that the sum's order decides
    nothing. ``on_one_grid``: 11 comparisons for the largest number, 11 for the smallest. ``shared_out``: no
    power below 2^-126 (4), 1 / power (4), each share (12), and 3 comparisons for the largest power so
    far."""
    assert tallied(rounded, np.ones((3, 4), np.float32), component="rounding to grids") == expected


def test_other_operations_by_pencil():
    """Six numbers: x + x adds 6 times, their sum 5 times, by halves as well; their maximum compares 5
    times, that of each row so far in 2 rows of 3 does 4 times; exp is 6 functions; an index fetches 2."""
    x = np.ones(6, np.float32)
    assert tallied(lambda x: x + x, x) == {("additions", "float32"): 6}
    assert tallied(lambda x: x.sum(), x) == tallied(exact.total, x[:, None]) == {("additions", "float32"): 5}
    assert tallied(lambda x: x.max(), x) == tallied(lambda x: np.maximum.reduce(x, None),
                                                    x) == {("comparisons", "float32"): 5}
    assert tallied(lambda x: np.maximum.accumulate(x.reshape(2, 3), -1), x) == {("comparisons", "float32"): 4}
    assert tallied(np.exp, x) == {("divisions and functions", "float32"): 6}
    assert tallied(lambda x: x[np.array([1, 3])], x) == tallied(lambda x: x.take([1, 3]),
                                                                x) == {("lookups", "float32"): 2}
    assert tallied(lambda x: x[1:3], x) == tallied(lambda x: x.astype(np.int8), x) == {}


def test_our_exp_and_log_by_pencil():
    """exp is 2^y = 2^n (R + f) / (R - f), y = x log2 e: factors for y, f^2, R (2) and 2^n; additions for n
    (2), f, R (2), R + f and R - f; a clip, a shift. log, in float64, has a series of 11 terms in t, one
    product and one addition each; products for 2 m, t, n log 2 and 2 s series (2), additions for m - 1, m +
    1 and the last sum, and n - 1 in whole numbers; 6 questions; m and n out of x's bits, an ``and`` of two
    answers."""
    assert tallied(exact.exp, np.ones(1, np.float32)) == {
        ("multiplications", "float32"): 5, ("additions", "float32"): 7, ("comparisons", "float32"): 1,
        ("word operations", "int32"): 1,
        ("divisions and functions", "float32"): 1}
    assert tallied(exact.log, np.ones(1, np.float32)) == {
        ("multiplications", "float64"): 11 + 5, ("additions", "float64"): 11 + 3, ("additions", "int32"): 1,
        ("comparisons", "float64"): 6,
        ("divisions and functions", "float64"): 1, ("word operations", "float64"): 1,
        ("word operations", "bool"): 1}


def test_lookup_tables_take_additions_alone(rng):
    """[b158] Fig. 1: W x of ternary weights needs no multiplication. The tables' entries are sums of x, -x
    and 0."""
    w, codes = kernels.table_indices(rng.integers(-1, 2, (5, 20))), rng.integers(-127, 128, (20, 3))
    tally = tallied(lambda codes: kernels.by_lookup(codes, w), codes)
    assert {kind for kind, _ in tally} == {"additions", "lookups", "comparisons"}
    assert tally["additions", "int16"] > 0


def test_operations_in_place_and_on_new_arrays_count():
    """y = zeros(4); y += x: the array made on the way counts too, in the engines' modules."""
    def scatter(x):
        y = kernels.np.zeros(4, np.float32)
        y += x
        return y * y
    assert tallied(scatter, np.ones(4, np.float32)) == {("additions", "float32"): 4,
                                                        ("multiplications", "float32"): 4}


def test_an_operation_that_no_kind_names_is_an_error_and_not_left_out():
    with pytest.raises(KeyError, match="arctan2"):
        tallied(np.arctan2, np.ones(2), np.ones(2))


def test_a_model_that_stops_counting_is_noticed():
    with pytest.raises(AssertionError, match="stopped counting"):
        count(lambda x: np.array(x.tolist()), np.ones(2))


@pytest.mark.parametrize("linear", ["float", "ternary"])
def test_the_products_of_the_float_engine_are_its_weights_and_attention(linear):
    """T tokens: T times the weights, and the head's 30 * 16, on grids in float64; attention has 2 T^2 d a
    layer, in one block of queries. In each of its 2 layers and 2 heads a weight is multiplied 5 times by
    exp and once by its key's power of two; a query's unit takes 3 factors."""
    model = Transformer(ModelConfig(linear=linear, **C)).quantized()
    logits, tally = count(model, ids())
    assert np.array_equal(logits, model(ids()).data), "counting changes no bit"
    projections = T * WEIGHTS
    outputs = T * 2 * (4 * 16 + 2 * 24 + 16)
    if linear == "float":
        assert of(tally, "plain products", "multiplications", "float64") == projections + T * 30 * 16
    else:
        # s_w s_x for each matrix and token, and one scaling for each output: [bitnet] eq. 18
        scales = 2 * 7 * T
        assert of(tally, "BitLinear", "multiplications") == projections + outputs + scales
        assert of(tally, "BitLinear", "additions") == projections - outputs
        assert of(tally, "plain products", "multiplications", "float64") == T * 30 * 16
    assert of(tally, "plain products", "multiplications") == 0
    # mask: the triangle times 1e30
    products, mask, weights = 2 * 2 * T**2 * 16, 2 * T**2, 2 * 2 * T**2
    assert of(tally, "attention", "multiplications", "float64") == products + weights + 2 * 2 * 3 * T
    assert of(tally, "attention", "multiplications") == mask + 5 * weights
    assert of(tally, "embedding", "lookups") == T * 16


@pytest.mark.parametrize("engine", ["ternary, packed", "ternary, integer"])
def test_one_token_takes_no_product_of_weights_but_words(monkeypatch, engine):
    """Bit planes: for each row, word of 64 weights and bit of the activation an xor, an and, a popcount; 16
    or 24 features are one word, so 24 a row. Rows: 2 layers of 4 * 16 + 2 * 24 + 16."""
    monkeypatch.setattr(operations, "SIZES", C)
    model = operations.engines()[engine]
    logits, tally = count(model, ids(1))
    assert np.array_equal(logits, model(ids(1)))
    assert of(tally, "BitLinear", "word operations", "uint64") == 24 * 2 * (4 * 16 + 2 * 24 + 16)
    rows = 2 * (4 * 16 + 2 * 24 + 16)
    # s_w s_x, and y s: the packed engine's scaling
    assert of(tally, "BitLinear", "multiplications") == (2 * rows if "packed" in engine else 0)


def test_one_token_after_others_attends_to_all_of_them_and_leaves_the_caches_as_they_were():
    """The last of T tokens: in each of 2 layers a score and a weighted value of T keys of 16 numbers, in
    each of 2 heads T weights that take their keys' powers of two, and exp's 5 factors, and 3 factors for
    the query's unit. One query needs no mask."""
    model = FloatEngine(Transformer(ModelConfig(**C)))
    caches = model.new_caches()
    model(ids()[:, :-1], caches)
    logits, tally = count(model, ids()[:, -1:], caches)
    assert of(tally, "attention", "multiplications", "float64") == 2 * (2 * T * 16 + 2 * T + 2 * 3)
    assert of(tally, "attention", "multiplications") == 2 * 5 * 2 * T
    assert caches[0].length == T - 1 and np.array_equal(logits, model(ids()[:, -1:], caches))


def test_the_integer_engine_has_no_operation_on_floats(monkeypatch):
    monkeypatch.setattr(operations, "SIZES", C)
    _, tally = count(operations.engines()["ternary, integer"], ids())
    assert tally and all(dtype.lstrip("u").startswith("int") for _, _, dtype in tally)


def test_counting_ends_with_its_block():
    """Afterwards the modules have NumPy back, also where the model failed."""
    with pytest.raises(ZeroDivisionError):
        count(lambda x: 1 / 0, np.ones(2))
    assert exact.np is np and ops.np is np and kernels.np is np and type(kernels.np.zeros(1)) is np.ndarray


def test_the_counted_saving_is_below_the_formulas_and_above_one():
    """What the formula leaves out, the head above all, is the same for both variants: a small model saves far
    less."""
    energy = operations.quick()["energy"]
    assert 1 < energy["saving"] < energy["saving_by_formula"]
    assert energy["products"] == 64 * 2 * (4 * 128**2 + 3 * 128 * 352)
    assert 0 < energy["scaling"] < energy["scaled_by_formula"]
    assert energy["unpriced"] > 0


def test_products_of_matrices_contribute_the_most_in_every_engine():
    """[bitnet] §2.3. LLaMA's are nearly all of its energy; of the ternary model's the head, in full
    precision, is the largest component. To round to grids takes less than a hundredth."""
    r = operations.quick()
    of_products = {name: sum(by.get(component, 0) for component in operations.PRODUCTS)
                   for name, by in r["shares"].items()}
    assert of_products["LLaMA, float"] > 0.97 and all(share > 0.75 for share in of_products.values())
    assert all(0 < by["rounding to grids"] < 0.01 for name, by in r["shares"].items()
               if "integer" not in name)
    for name, by in r["shares"].items():
        assert by["of"] == ("operations" if "integer" in name else "energy")
        assert sum(share for name, share in by.items() if name != "of") == pytest.approx(1)
    assert (r["shares"]["ternary, packed"]["plain products"] > 0.5 > 0.1
            > r["shares"]["ternary, packed"]["BitLinear"])
    assert r["config"]["d_ffn"] == 352
    lines = [line for line in operations.in_words(r) if "contribute the most" in getattr(line, "paper", "")]
    assert sum(not line.differs for line in lines) == 4


def test_an_engine_whose_energy_went_elsewhere_would_be_marked():
    """10 additions in a product, 11 elsewhere: 48 %."""
    by = operations.shares({("attention", "additions", "float32"): 10,
                            ("the rest", "additions", "float32"): 11}, "LLaMA, float")
    assert by == {"of": "energy", "the rest": pytest.approx(11 / 21), "attention": pytest.approx(10 / 21)}
    r = operations.quick() | {"shares": {"LLaMA, float": by}}
    line = list(operations.in_words(r))[1]
    assert line.differs and line.here == "48% of the energy: the rest 52.4%, attention 47.6%"


def test_counted_energy_by_pencil(monkeypatch):
    """One layer, d 8, d_ffn 16: 4 * 64 + 3 * 128 = 640 weights, 64 tokens, 40,960 products. The float
    variant: a million float32 multiplications and as many float64 additions, 0.34 + 0.16 microjoules. The
    ternary variant: the products as INT8 additions, x 0.007 pJ; 1,000 scalings and 2,000 multiplications
    elsewhere x 0.34; 500 additions, of both floats, x 0.16; the additions inside a BitLinear are the
    products'. No price: 3 comparisons, 4 additions of bits."""
    monkeypatch.setattr(operations, "SIZES", {"vocab_size": 10, "d_model": 8, "n_layers": 1, "n_heads": 2,
                                              "d_ffn": 16, "context": 64})
    of_float = {("attention", "multiplications", "float32"): 10**6,
                ("BitLinear", "additions", "float64"): 10**6,
                ("attention", "lookups", "int64"): 7}
    of_ternary = {("BitLinear", "multiplications", "float32"): 40_960 + 1_000,
                  ("BitLinear", "additions", "float32"): 9_999,
                  ("quantizer", "multiplications", "float32"): 2_000,
                  ("the rest", "additions", "float32"): 300,
                  ("rounding to grids", "additions", "float64"): 200,
                  ("rounding to grids", "additions", "int64"): 4,
                  ("the rest", "comparisons", "float32"): 3}
    e = operations.joules(of_float, of_ternary)
    assert (e["products"], e["scaling"], e["unpriced"]) == (40_960, 1_000, 3 + 4)
    assert e["float"] == pytest.approx(0.5e-6)
    assert e["ternary"] == pytest.approx(1e-12 * (40_960 * 0.007 + 3_000 * 0.34 + 500 * 0.16))
    assert e["saving"] == pytest.approx(e["float"] / e["ternary"])
