"""A quantizer of one's own is a variant like the others, and a wrong one is refused."""
import numpy as np
import pytest

import minibitnet
from minibitnet import variants
from minibitnet.errors import UserError
from minibitnet.looking import layers
from minibitnet.nn import ops
from minibitnet.nn.gradcheck import vjp_error
from minibitnet.nn.ste import straight_through

SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2, "context": 16, "batch": 4}
TEXT = "In the beginning was the word, and the word was ternary.\n" * 40


def threshold(w):
    """Ternary Weight Networks, arXiv 1605.04711."""
    large = np.abs(w) > 0.7 * np.abs(w).mean()
    return np.sign(w) * large, np.abs(w[large]).mean()


@pytest.fixture
def twn():
    """Registered for this test alone."""
    minibitnet.register_variant("twn", threshold)
    yield
    del variants.VARIANTS["twn"]


def fit(**options):
    return minibitnet.fit(TEXT, progress=False, **SMALL | options)


def test_a_quantizer_of_ones_own_trains_packs_and_is_kept(twn, tmp_path):
    """Its codes are in the model; the packed and the saved model give the same logits."""
    model, _, history = fit(linear="twn", steps=60)
    assert history["loss"][-1] < 1 < history["loss"][0] and model.config.linear == "twn"
    assert 0 < history["zero_fraction"][-1] < 1
    for layer in layers(model.engine.transformer):
        codes, scale = threshold(layer.latent)
        assert np.array_equal(layer.codes, codes) and layer.scale == scale
    ids = model.encode("in the"[1:])
    assert np.array_equal(model.pack().logits(ids), model.logits(ids))
    assert model.pack("integer").logits(ids).dtype == np.int32
    model.save(tmp_path / "run")
    assert np.array_equal(minibitnet.load(tmp_path / "run", "packed").logits(ids), model.logits(ids))
    assert not np.array_equal(fit(linear="ternary", steps=60).model.logits(ids), model.logits(ids))


def test_the_projects_own_quantizer_registered_anew_is_the_same_model(twn):
    minibitnet.register_variant("twn", minibitnet.absmean_ternary)
    ours, own = fit(steps=3).model, fit(linear="twn", steps=3).model
    assert all(np.array_equal(a, own.latent()[name]) for name, a in ours.latent().items())
    minibitnet.register_variant("twn", minibitnet.sign_binary, like="binary", lr=1e-3)
    model = fit(linear="twn", steps=1).model
    assert model.layers()[0].zeros == 0 and "layers.0.input_layernorm.weight" not in model.latent()
    assert model.settings["train"]["lr"] == pytest.approx(1e-3 * 8**0.5)


@pytest.mark.parametrize("quantize, message", [
    (lambda w: w, " ndarray: expected \\(codes, scale\\)"),
    (lambda w: None, " NoneType: expected \\(codes, scale\\)"),
    (lambda w: (np.sign(w)[:4], 1), "codes \\(4, 12\\) from -1 to 1"),
    (lambda w: (2 * np.sign(w), 1), "from -2 to 2"),
    (lambda w: (np.sign(w) / 2, 1), "from -0.5 to 0.5"),
    (lambda w: (np.sign(w) * np.nan, 1), "from nan to nan"),
    (lambda w: (np.sign(w), 0), "the scale 0:"),
    (lambda w: (np.sign(w), np.nan), "the scale nan:"),
    (lambda w: (np.sign(w), np.ones((8, 1))), "scales \\(8, 1\\): .* a scale that is one number above 0"),
])
def test_a_wrong_quantizer_is_refused(quantize, message):
    with pytest.raises(UserError, match=f"^the quantizer of 'own' gave.*{message}"):
        minibitnet.register_variant("own", quantize)
    assert "own" not in variants.VARIANTS


def test_a_quantizer_that_goes_wrong_later_is_refused_then(twn):
    """It was right for the matrix that it was tried on."""
    minibitnet.register_variant("twn", lambda w: (np.sign(w) * (1 if w.shape == (8, 12) else 2), 1))
    with pytest.raises(UserError, match=r"the quantizer of 'twn' gave, of weights \(16, 16\), codes"):
        fit(linear="twn", steps=1)


def test_an_error_of_the_quantizers_shows_where_it_is():
    with pytest.raises(ZeroDivisionError):
        minibitnet.register_variant("own", lambda w: (np.sign(w), 1 / 0))


@pytest.mark.parametrize("name, like", [("ternary", "ternary"), ("float", "ternary"), ("a b", "ternary"),
                                        (7, "ternary"), ("own", "float"), ("own", "none")])
def test_a_name_that_is_taken_or_none_is_refused(name, like):
    with pytest.raises(UserError, match="expected a"):
        minibitnet.register_variant(name, threshold, like=like)


def test_the_gradient_checker_rejects_it_and_says_so():
    """Chosen, not derived; and float32, lists of options, or what is no op are no trap."""
    w = np.random.default_rng(0).standard_normal((6, 7)).astype(np.float32)
    assert vjp_error(straight_through(threshold), w) > 0.1
    assert vjp_error(straight_through(minibitnet.absmean_ternary), w) > 0.1
    assert vjp_error(ops.add, w, w) < 1e-6
    assert vjp_error(straight_through(lambda x: (x, np.ones((1, 1)))), w) < 1e-6, "of the identity it is true"
    with pytest.raises(UserError, match="expected an op, with its gradient: minibitnet.straight_through"):
        vjp_error(threshold, w)
