"""A model in memory writes, scores, is packed and is kept."""
import numpy as np
import pytest

import minibitnet
from minibitnet import jobs
from minibitnet.errors import NonFiniteError, UserError

SMALL = {"d_model": 16, "n_layers": 2, "n_heads": 2, "context": 16, "batch": 4, "steps": 2}
TEXT = "In the beginning was the word, and the word was ternary.\n" * 40
STORIES = "the end\n<|endoftext|>\nthe beginning\n<|endoftext|>\n" * 40


def fit(text=TEXT, **options):
    return minibitnet.fit(text, progress=False, **SMALL | options).model


@pytest.fixture(scope="module")
def model():
    return fit()


@pytest.mark.parametrize("options", [{}, {"linear": "binary"}, {"linear": "float"}, {"tied": True},
                                     {"n_kv_heads": 1, "activation": "relu2"}, {"tokenizer": "bpe:270"}])
def test_what_is_saved_is_loaded(options, tmp_path):
    """The same logits, tokenizer and settings, and a packed model beside it where the weights are codes."""
    model = fit(**options)
    assert model.save(tmp_path / "run") == tmp_path / "run"
    loaded, ids = minibitnet.load(tmp_path / "run"), model.encode("the word")[:16]
    assert np.array_equal(loaded.logits(ids), model.logits(ids))
    assert (loaded.step, loaded.settings, loaded.begin) == (2, model.settings, model.begin)
    assert loaded.generate("the") == model.generate("the")
    if model.config.variant.has_codes:
        for engine in ("packed", "integer"):
            other = minibitnet.load(tmp_path / "run", engine)
            assert np.array_equal(other.logits(ids), model.pack(engine).logits(ids))
    else:
        assert not (tmp_path / "run/packed.safetensors").exists()
    with pytest.raises(UserError, match="holds a finished run"):
        model.save(tmp_path / "run")
    loaded.save(tmp_path / "run", overwrite=True)
    assert np.array_equal(minibitnet.load(tmp_path / "run").logits(ids), model.logits(ids))


@pytest.mark.parametrize("options", [{}, {"linear": "binary"}, {"tied": True}, {"n_kv_heads": 1}])
def test_a_packed_model_gives_the_same_logits(options):
    """Theorem 2 in a line of a notebook; the integer engine is close to both."""
    model, ids = fit(**options), np.arange(16)
    packed, whole = model.pack(), model.pack("integer")
    assert np.array_equal(packed.logits(ids), model.logits(ids)) and packed.logits(ids).dtype == np.float32
    assert whole.logits(ids).dtype == np.int32
    assert np.abs(whole.logits(ids) * whole.logit_scale - model.logits(ids)).max() < 0.5
    assert packed.generate("the word", 20) == model.generate("the word", 20)
    assert packed.loss("the word was") == model.loss("the word was")


def test_a_model_of_floats_has_nothing_to_pack():
    with pytest.raises(UserError, match="linear = 'float': expected packed or integer, and weights that are"):
        fit(linear="float").pack()


def test_the_default_repeats_itself_and_none_draws_anew(model):
    assert model.generate("the", 60) == model.generate("the", 60) == model.generate("the", 60, seed=0)
    assert len({model.generate("the", 60, seed=None) for _ in range(4)}) == 4


def test_the_loss_of_a_text_is_its_mean_surprisal(model):
    """By hand: softmax of the logits."""
    ids = model.encode("the word")
    logits = model.logits(ids).astype(float)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert model.loss("the word") == pytest.approx(-np.log(p[np.arange(7), ids[1:]]).mean(), rel=1e-9)


def test_a_document_is_scored_from_its_beginning_to_its_end():
    model = fit(STORIES)
    ids = [model.begin, *model.tokenizer.encode("the end"), model.begin]
    logits = model.logits(ids[:-1]).astype(float)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert model.loss("the end") == pytest.approx(-np.log(p[np.arange(8), ids[1:]]).mean(), rel=1e-9)
    assert model.generate("") == model.generate("") != "", "it can begin a document, the other one cannot"


# ---- mistakes

@pytest.mark.parametrize("call, message", [
    (lambda m: m.logits("the word"), "^a text, 'the word', where token ids belong: expected integers from 0"),
    (lambda m: m.logits([[1, 2]]), r"^token ids of shape \(1, 2\): expected \(tokens,\), at least one"),
    (lambda m: m.logits([]), r"^token ids of shape \(0,\)"),
    (lambda m: m.logits(3), r"^token ids of shape \(\)"),
    (lambda m: m.logits([-1]), "^token ids from -1 to -1"),
    (lambda m: m.logits([1.0]), "^token ids of type float64"),
    (lambda m: m.logits([True]), "^token ids of type bool"),
    (lambda m: m.logits(range(17)), "^17 token ids: expected at most the context of 16"),
    (lambda m: m.trace("the word"), "^a text, 'the word', where token ids belong"),
    (lambda m: m.trace(range(17)), "^17 token ids: expected at most the context of 16"),
    (lambda m: m.loss([1, 2]), r"^\[1, 2\]: expected a text"),
    (lambda m: m.loss("t"), "^a text of 1 tokens: expected at least two"),
    (lambda m: m.loss(""), "^a text of 0 tokens: expected at least two"),
    (lambda m: m.encode(None), "^None: expected a text"),
    (lambda m: m.generate([1, 2]), r"^\[1, 2\]: expected a text"),
    (lambda m: m.generate(""), "^an empty prompt: expected at least one token"),
    (lambda m: m.generate("the", stop=None), "^stop = None: expected a text"),
    (lambda m: m.generate("the", tokens="5"), "^tokens = '5': expected a count"),
    (lambda m: m.pack("fast"), "^engine 'fast': expected one of float, packed, integer"),
    (lambda m: m.pack().trace([1]), r"^trace\(\) of a model on the PackedModel, which has no latent weights"),
    (lambda m: m.pack().save("nowhere"), r"^save\(\) of a model on the PackedModel"),
    (lambda m: m.pack("integer").layers(), r"^layers\(\) of a model on the IntegerModel"),
    (lambda m: minibitnet.load(None), "^model None: expected the directory of a run"),
    (lambda m: minibitnet.load(""), "^model '': expected the directory of a run"),
    (lambda m: minibitnet.load(m), "^model <LanguageModel: .*: expected the directory of a run"),
])
def test_a_mistake_is_one_line(model, call, message):
    with pytest.raises(UserError, match=message):
        call(model)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_neither_saved_nor_packed(bad, tmp_path):
    """And nothing is there afterwards."""
    model = fit(steps=1)
    model.engine.transformer.layers[1].mlp.up_proj.weight.data[3, 2] = bad
    for call in (lambda: model.save(tmp_path / "run"), model.pack):
        with pytest.raises(NonFiniteError, match=r"\(\): layers.1.mlp.up_proj.weight is not finite"):
            call()
    assert not (tmp_path / "run").exists()


# ---- what is seen

def test_a_repr_says_the_sizes_and_no_address(model):
    c = model.config
    sizes = f"ternary, {c.n_parameters:,} parameters, 2 layers 16 wide, {c.vocab_size} tokens, context 16"
    assert repr(model) == f"<LanguageModel: {sizes}; step 2, FloatEngine>"
    transformer = model.engine.transformer
    assert repr(transformer) == repr(transformer.quantized()) == f"<Transformer: {sizes}>"
    assert repr(transformer.lm_head) == f"<Head: {{'weight': ({c.vocab_size}, 16)}}>"
    assert repr(transformer.norm.weight) == "<Tensor of ndarray (16,)>"
    assert repr(model.tokenizer) == f"<CharTokenizer: {c.vocab_size} tokens, the end's is None>"
    for tokenizer in ("byte", "bpe:270"):
        shown = repr(jobs.make_tokenizer(tokenizer, TEXT, with_end=True))
        assert shown in ("<ByteTokenizer: 257 tokens, the end's is 256>",
                         "<BPETokenizer: 270 tokens, the end's is 269>")
    assert not any(" at 0x" in repr(x) for x in (*model.layers(), transformer.layers[0], model.settings))
