"""Directories of Hugging Face, without its libraries: what is written is read, what is wrong is named."""
import json
from dataclasses import asdict

import numpy as np
import pytest

import minibitnet
from minibitnet.errors import UserError
from minibitnet.float16 import rounded, widen
from minibitnet.formats import safetensors
from minibitnet.formats.packed import FLOATS
from minibitnet.formats.safetensors import FormatError
from minibitnet.interop import huggingface
from minibitnet.interop.huggingface import Storage, model_config
from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.quant import absmean_ternary
from minibitnet.text.bpe import train
from minibitnet.text.bpe_files import with_end
from minibitnet.text.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer, load_tokenizer

TOKENIZER = BPETokenizer(with_end(train("the sea, the shore and the shells; she sells. " * 9, 270)))
SIZES = dict(vocab_size=271, d_model=16, n_heads=2, n_kv_heads=2, d_ffn=24, n_layers=2, context=24)
Q = {"quant_method": "bitnet"}
BITNET = {"model_type": "bitnet", "quantization_config": Q | {"linear_class": "autobitlinear"}}


def model_of(seed=0, tokenizer=TOKENIZER, **options):
    """A random model on the float engine, with gains that are not 1."""
    c = ModelConfig(**SIZES | options)
    transformer, rng = Transformer(c, seed), np.random.default_rng(seed)
    for p in transformer.parameters().values():
        if p.data.ndim == 1:
            p.data[:] = rng.uniform(0.5, 1.5, p.data.shape)
    settings = {"model": asdict(c), "train": {}, "corpus": {"name": "", "sha256": "", "documents": True}}
    return LanguageModel(FloatEngine(transformer), tokenizer, settings)


IDS = np.random.default_rng(1).integers(0, 271, 20)
UP = "model.layers.1.mlp.up_proj.weight"


# ---- there and back

@pytest.mark.parametrize("options", [{}, {"activation": "relu2", "tied": True, "rope_theta": 5e5},
                                     {"linear": "ternary_llama", "n_kv_heads": 1, "d_head": 6},
                                     {"linear": "float", "d_head": 10}], ids=str)
@pytest.mark.parametrize("packed", [True, False])
def test_what_is_saved_is_read_with_the_same_logits(options, packed, tmp_path):
    """To the bit: of packed weights by the packed engine, which is the float engine's."""
    if options.get("d_head") and packed and options["linear"] != "float":
        options = options | {"n_kv_heads": 2}                    # rows in fours
    model = model_of(**options)
    assert model.save_pretrained(str(tmp_path / "m"), packed=packed) == tmp_path / "m"
    again = minibitnet.from_pretrained(tmp_path / "m")
    assert np.array_equal(again.logits(IDS), model.logits(IDS))
    assert (again.begin, again.ends) == (270, [270]) and again.encode("the").tolist()[0] == 270
    assert again.generate("the", 5) == model.generate("the", 5)
    if not packed or options.get("linear") == "float":
        floats = minibitnet.from_pretrained(tmp_path / "m", "float")
        assert np.array_equal(floats.logits(IDS), model.logits(IDS))
        for name, a in model.latent().items():
            assert np.array_equal(a, floats.latent()[name])
        floats.save(tmp_path / "run")
        run = minibitnet.load(tmp_path / "run")
        assert np.array_equal(run.logits(IDS), model.logits(IDS)) and run.begin == 270
    else:
        with pytest.raises(UserError, match="packed weights, of which no floats are left"):
            minibitnet.from_pretrained(tmp_path / "m", "float")
    if again.config.linear == "ternary":
        assert minibitnet.from_pretrained(tmp_path / "m", "integer").logits(IDS).dtype == np.int32


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bits_for_what_is_not_packed(dtype, tmp_path):
    model = model_of()
    model.save_pretrained(tmp_path, dtype=dtype)
    tensors, _ = safetensors.load(tmp_path / "model.safetensors")
    assert tensors["model.embed_tokens.weight"].dtype == FLOATS[dtype]
    assert tensors["model.layers.0.mlp.up_proj.weight_scale"].dtype == np.float32
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == dtype
    near = np.abs(minibitnet.from_pretrained(tmp_path).logits(IDS) - model.logits(IDS)).max()
    assert 0 < near < 0.2 * np.abs(model.logits(IDS)).max()


def rewrite(folder, tensors=None, metadata=None, **config):
    """Change a directory: keys of its config.json, and its tensors by a function of {name: array}."""
    said = json.loads((folder / "config.json").read_text()) | config
    (folder / "config.json").write_text(json.dumps({k: v for k, v in said.items() if v != "absent"}))
    if tensors:
        arrays, there = safetensors.load(folder / "model.safetensors")
        safetensors.save(folder / "model.safetensors", tensors(arrays), {"format": "pt"})


def test_the_scale_of_the_legacy_class_divides(tmp_path):
    """The same file with the reciprocal scales and no class named: the same model, but for the rounding of
    1 / x. With the scales as they were every logit is another."""
    model = model_of()
    model.save_pretrained(tmp_path)

    def reciprocal(arrays):
        return {name: 1 / a if name.endswith("_scale") else a for name, a in arrays.items()}
    rewrite(tmp_path, quantization_config=Q)
    wrong = minibitnet.from_pretrained(tmp_path).logits(IDS)
    rewrite(tmp_path, reciprocal)
    right, expected = minibitnet.from_pretrained(tmp_path).logits(IDS), model.logits(IDS)
    assert np.abs(right - expected).max() < 0.05 * np.abs(expected).max()
    assert np.abs(wrong - expected).max() > 0.3 * np.abs(expected).max()


def in_shards(folder):
    """Cut the weights of a directory in two -> its index."""
    arrays, _ = safetensors.load(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(arrays)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in shards.items():
        safetensors.save(folder / file, {name: arrays[name] for name in some}, {})
    index = {"weight_map": {name: file for file, some in shards.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_shards_and_what_their_index_says(tmp_path):
    model = model_of()
    index = in_shards(model.save_pretrained(tmp_path))
    names = sorted(index["weight_map"], key=lambda name: index["weight_map"][name])
    assert np.array_equal(minibitnet.from_pretrained(tmp_path).logits(IDS), model.logits(IDS))
    index["weight_map"][names[0]] = "b.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FormatError, match="b.safetensors: tensor .* is missing, which model.safetensors.ind"):
        minibitnet.from_pretrained(tmp_path)
    for bad in ({"weight_map": {"x": "../b.safetensors"}}, {"weight_map": 3}, {}):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(bad))
        with pytest.raises(UserError, match="expected a weight_map from tensors to files beside it"):
            minibitnet.from_pretrained(tmp_path)


def test_masters_of_16_bits_are_quantized_as_they_are(tmp_path):
    """bfloat16 masters, as others save them: absmean of the rounded weights. (We keep them in float32.)"""
    model = model_of()
    model.save_pretrained(tmp_path, packed=False, dtype="bfloat16")
    assert huggingface.open_directory(tmp_path).tensors["layers.0.mlp.up_proj.weight"].dtype == np.float32
    rewrite(tmp_path, lambda arrays: {name: rounded(widen(a), FLOATS["bfloat16"])
                                      for name, a in arrays.items()})
    directory = huggingface.open_directory(tmp_path)
    name = "layers.0.mlp.up_proj.weight"
    w = widen(rounded(model.latent()[name], FLOATS["bfloat16"]))
    found, told = huggingface.matrix(directory, name), []
    codes, scale = absmean_ternary(w)
    assert found.scale == np.float32(scale[0, 0]) and found.n == 24
    assert np.array_equal(minibitnet.packing.unpack_ternary(found.packed, 24), codes)
    minibitnet.from_pretrained(tmp_path, report=told.append)
    assert len(told) == 14 == len(set(told))


def test_a_vocabulary_larger_than_the_tokenizer(tmp_path):
    """As many models have: the last ids stand for nothing, and no text becomes them."""
    model_of(vocab_size=300).save_pretrained(tmp_path)
    model = minibitnet.from_pretrained(tmp_path)
    assert model.tokenizer.vocab_size == 300 and model.tokenizer.vocabulary.unused == 29
    model_of(vocab_size=300, tokenizer=model.tokenizer).save(tmp_path / "run")
    assert minibitnet.load(tmp_path / "run").tokenizer.vocabulary == model.tokenizer.vocabulary
    assert model.tokenizer.decode([299, *TOKENIZER.encode("sea")]) == "sea"
    rewrite(tmp_path, vocab_size=200)
    with pytest.raises(UserError, match="tokens.weight' is F32 \\(300, 16\\): expected .* \\(200, 16\\)"):
        minibitnet.from_pretrained(tmp_path)


def test_more_than_one_token_may_end_a_text(tmp_path):
    model_of().save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 270, 9999]}))
    model = minibitnet.from_pretrained(tmp_path)
    assert model.ends == [5, 270] and model.begin == 270
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": ["x"]}))
    with pytest.raises(UserError, match="token id 'x': expected a whole number"):
        minibitnet.from_pretrained(tmp_path)


@pytest.mark.parametrize("tokenizer", [TOKENIZER, ByteTokenizer(with_end=True)], ids=repr)
def test_a_saved_tokenizer_is_read_again(tokenizer, tmp_path):
    model = model_of(tokenizer=tokenizer, vocab_size=tokenizer.vocab_size)
    model.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path / "tokenizer.json")
    for text in ("the shells, né 你好\n 42", "", "she sells"):
        assert np.array_equal(again.encode(text), tokenizer.encode(text))
    assert again.vocab_size == tokenizer.vocab_size and again.end == tokenizer.end


def test_the_begin_token_is_put_there_where_the_tokenizer_says_so(tmp_path):
    """By the template in tokenizer.json; tokenizer_config.json has the last word."""
    model_of().save_pretrained(tmp_path)
    files = {name: json.loads((tmp_path / name).read_text())
             for name in ("tokenizer.json", "tokenizer_config.json")}

    def begin(template=None, **config):
        post = files["tokenizer.json"]["post_processor"] if template is None else template
        changed = {"tokenizer.json": {"post_processor": post}, "tokenizer_config.json": config}
        for name, keys in changed.items():
            (tmp_path / name).write_text(json.dumps(files[name] | keys))
        return minibitnet.from_pretrained(tmp_path).begin
    template = files["tokenizer.json"]["post_processor"]
    assert begin() == 270 and begin({}) is None and begin(add_bos_token=False) is None
    assert begin({}, add_bos_token=True) == 270
    sequence = {"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]}
    assert begin(sequence) == 270
    with pytest.raises(UserError, match="post_processor .* expected a template"):
        begin(template | {"special_tokens": {}})


def test_their_pattern_is_spelled_for_their_library(tmp_path):
    """u0080, not x80; read again it is ours."""
    model_of().save_pretrained(tmp_path)
    text = (tmp_path / "tokenizer.json").read_text()
    assert r"\\u0080-\\u00bf" in text and r"\\x80" not in text
    assert load_tokenizer(tmp_path / "tokenizer.json").vocabulary == TOKENIZER.vocabulary
    spaced = BPETokenizer(TOKENIZER.vocabulary._replace(prefix_space=True))
    with pytest.raises(UserError, match="cuts by a pattern of its own and puts a space in front"):
        model_of(tokenizer=spaced).save_pretrained(tmp_path / "m")


# ---- config.json

def test_the_configuration_of_2b_4t():
    """What the published file says; the same with the nested rope_parameters of newer libraries."""
    said = BITNET | dict(
        architectures=["BitNetForCausalLM"], hidden_act="relu2", hidden_size=2560, intermediate_size=6912,
        max_position_embeddings=4096, num_attention_heads=20, num_hidden_layers=30, num_key_value_heads=5,
        rms_norm_eps=1e-5, rope_theta=500000.0, tie_word_embeddings=True, vocab_size=128256)
    c, storage = model_config(said, "here")
    assert c == ModelConfig(vocab_size=128256, d_model=2560, n_layers=30, n_heads=20, n_kv_heads=5,
                            d_ffn=6912, context=4096, activation="relu2", tied=True, rope_theta=5e5,
                            norm_eps=1e-5)
    assert c.n_parameters == 2_412_820_480 and storage == Storage(packed=True)
    del said["rope_theta"]
    nested = said | {"rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}}
    assert model_config(nested, "here") == (c, storage)
    few = BITNET | {"tie_word_embeddings": True, "max_position_embeddings": 4096}
    assert model_config(few, "") == (c, storage), "what is left out is as in that model"


@pytest.mark.parametrize("q, storage", [
    (Q, Storage(True, True)),
    (Q | {"linear_class": "bitlinear", "quantization_mode": "offline"}, Storage(True, True)),
    (Q | {"linear_class": "autobitlinear"}, Storage(True)),
    (Q | {"linear_class": "autobitlinear", "quantization_mode": "online"}, Storage(False))])
def test_how_weights_are_stored(q, storage):
    assert model_config({"model_type": "bitnet", "quantization_config": q}, "")[1] == storage
    c, found = model_config({"model_type": "llama", "quantization_config": q}, "")
    assert (c.linear, found) == ("ternary_llama", storage)
    assert model_config({"model_type": "llama"}, "")[0].linear == "float"


@pytest.mark.parametrize("changes, words", [
    ({"model_type": "gpt2"}, "model_type = 'gpt2': expected 'bitnet' or 'llama'"),
    ({"model_type": "absent"}, "model_type = None"), ({"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
    ({"attention_bias": True}, "attention_bias = True: expected False"),
    ({"quantization_config": None}, "without a quantization_config"),
    ({"quantization_config": 7}, "quantization_config = 7: expected an object"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quant_method = 'gptq': expected 'bitnet'"),
    ({"quantization_config": Q | {"linear_class": "x"}}, "linear_class = 'x'"),
    ({"quantization_config": Q | {"quantization_mode": "later"}}, "quantization_mode = 'later'"),
    ({"quantization_config": Q | {"use_rms_norm": True}}, "use_rms_norm = True: expected False"),
    ({"quantization_config": Q | {"modules_to_not_convert": ["mlp"]}}, "_to_not_convert = \\['mlp'\\]"),
    ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type = 'yarn': expected 'default'"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_type = 'linear'"),
    ({"hidden_size": -16}, "-16 for d_model: expected a number above 0"),
    ({"hidden_size": "16"}, "'16' for d_model"), ({"num_key_value_heads": 3}, "does not divide n_heads"),
    ({"head_dim": 6}, "head_dim = 6 of 2 heads: expected a hidden_size of 12"),
    ({"rms_norm_eps": 7}, "norm_eps = 7"), ({"vocab_size": True}, "True for vocab_size"),
    ({"head_dim": "8"}, "'8' for head_dim"), ({"head_dim": {"a": 1}}, "for head_dim: expected a number"),
    ({"num_attention_heads": 2.0}, "n_heads = 2.0: expected int"),
    ({"rope_parameters": {"rope_theta": 10**400}}, "for rope_theta: expected a number"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
    ({"max_position_embeddings": 4_194_304}, "a context of 4,194,304 tokens: expected at most 131,072")])
def test_a_value_that_is_not_known_is_named(changes, words, tmp_path):
    model_of().save_pretrained(tmp_path)
    rewrite(tmp_path, **changes)
    with pytest.raises(UserError, match=words) as e:
        minibitnet.from_pretrained(tmp_path)
    assert str(tmp_path / "config.json") in str(e.value) and "\n" not in str(e.value)


# ---- what is wrong with a directory

def test_what_is_no_directory_of_a_model(tmp_path, monkeypatch):
    def refused(words, path=tmp_path / "m", **options):
        with pytest.raises(UserError, match=words) as e:
            minibitnet.from_pretrained(path, **options)
        assert "\n" not in str(e.value)
    refused("is nothing: expected the directory of a model")
    model_of().save_pretrained(tmp_path / "m")
    refused("is a file: expected the directory", tmp_path / "m" / "config.json")
    refused("expected a directory, or a name", path="")
    model_of().save(tmp_path / "run")
    refused("config.json is a run's: expected a directory of Hugging Face", tmp_path / "run")
    refused("expected a directory, or a name", path=7)
    refused("engine 'fast'", engine="fast")
    (tmp_path / "m" / "tokenizer.json").rename(tmp_path / "t")
    refused("has no tokenizer.json")
    (tmp_path / "t").rename(tmp_path / "m" / "tokenizer.json")
    (tmp_path / "m" / "config.json").write_text("{")
    refused("config.json is not JSON")
    (tmp_path / "m" / "config.json").write_text("[]")
    refused("expected a JSON object")
    (tmp_path / "m" / "config.json").unlink()
    refused("config.json: expected a JSON file, found nothing")
    model_of().save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    refused("has neither .* expected safetensors, found pytorch_model.bin")
    model_of(linear="float").save_pretrained(tmp_path / "f")
    refused("is a float model: expected the float engine", tmp_path / "f", engine="packed")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(minibitnet.pretrained.importlib.util, "find_spec", lambda name: None)
    refused("is no directory here and not in the hub's cache .*'minibitnet\\[hub\\]'", "some/model")


def test_a_name_in_the_hubs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    folder, model = tmp_path / "models--some--model", model_of()
    model.save_pretrained(folder / "snapshots" / "abc")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc\n")
    assert np.array_equal(minibitnet.from_pretrained("some/model").logits(IDS), model.logits(IDS))
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    assert minibitnet.pretrained.cache() == tmp_path / "home" / "hub"


@pytest.mark.parametrize("change, words", [
    (lambda a: {k: v for k, v in a.items() if "0.mlp.up_proj.weight_scale" not in k},
     "'model.layers.0.mlp.up_proj.weight_scale' is missing"),
    (lambda a: a | {"model.norm.weight": a["model.norm.weight"][:7]}, "norm.weight' is F32 \\(7,\\)"),
    (lambda a: a | {"model.norm.weight": a["model.norm.weight"] * np.nan}, "norm.weight' holds values that"),
    (lambda a: a | {"model.layers.0.self_attn.q_proj.bias": np.zeros(16, np.float32)}, "bias' is not of"),
    (lambda a: a | {f"{UP}_scale": -a[f"{UP}_scale"]}, "up_proj.weight_scale means -.*expected a number abo"),
    (lambda a: a | {f"{UP}_scale": np.zeros(1, np.float32)}, "means 0"),
    (lambda a: a | {UP: a[UP] | 3}, "up_proj.weight': byte .* holds bits 11")])
def test_a_tensor_that_is_wrong_is_named(change, words, tmp_path):
    model_of().save_pretrained(tmp_path)
    rewrite(tmp_path, change)
    with pytest.raises(FormatError, match=words):
        minibitnet.from_pretrained(tmp_path)


def test_tables_of_old_files_and_a_head_beside_a_tied_one_are_let_be(tmp_path):
    model = model_of(tied=True)
    model.save_pretrained(tmp_path)
    rewrite(tmp_path, lambda a: a | {"lm_head.weight": a["model.embed_tokens.weight"],
                                     "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(4, np.float32)})
    assert np.array_equal(minibitnet.from_pretrained(tmp_path).logits(IDS), model.logits(IDS))


def test_what_transformers_has_no_class_for(tmp_path):
    for options, words in (({"linear": "binary"}, "linear = 'binary'"), ({"linear": "v2"}, "linear = 'v2'"),
                           ({"d_head": 6}, "d_head = 6"), ({"d_ffn": 22}, "has 22 rows: expected a mult")):
        with pytest.raises(UserError, match=words):
            model_of(**options).save_pretrained(tmp_path / "m")
        assert not (tmp_path / "m").exists()
    model_of(d_ffn=22).save_pretrained(tmp_path / "m", packed=False)
    with pytest.raises(UserError, match="latent weights: expected the float engine"):
        model_of().pack().save_pretrained(tmp_path / "m")
    with pytest.raises(UserError, match="dtype 'int8': expected one of float32"):
        model_of().save_pretrained(tmp_path / "m", dtype="int8")
    with pytest.raises(UserError, match="dtype \\['float32'\\]: expected one of float32"):
        model_of().save_pretrained(tmp_path / "m", dtype=["float32"])
    with pytest.raises(UserError, match="config.json is a file: expected the name of a directory"):
        model_of().save_pretrained(tmp_path / "m" / "config.json")
    with pytest.raises(UserError, match="packed = 'no': expected True or False"):
        model_of().save_pretrained(tmp_path / "m", packed="no")


def test_a_run_is_not_written_over(tmp_path):
    """Its config.json and tokenizer.json have these names."""
    model = model_of(tokenizer=ByteTokenizer(), vocab_size=256)
    (tmp_path / "packed.safetensors").touch()
    with pytest.raises(UserError, match="is a run, whose configuration would be lost"):
        model.save_pretrained(tmp_path)


@pytest.mark.parametrize("documents", [False, True])
def test_a_tokenizer_of_characters_is_read_again(documents, tmp_path):
    tokenizer = CharTokenizer("\n abcé日", documents)
    model = model_of(tokenizer=tokenizer, vocab_size=tokenizer.vocab_size)
    model.save_pretrained(tmp_path / "m")
    again = minibitnet.from_pretrained(tmp_path / "m")
    assert again.tokenizer.to_json() == tokenizer.to_json()
    file = json.loads((tmp_path / "m/tokenizer.json").read_text(encoding="utf-8"))
    for change in ({"pre_tokenizer": None}, {"normalizer": {"type": "NFC"}},
                   {"model": file["model"] | {"vocab": {"ab": 0, "c": 1}}},
                   {"model": file["model"] | {"vocab": {"b": 0, "a": 1}}},
                   {"model": file["model"] | {"vocab": 3}}):
        (tmp_path / "m/tokenizer.json").write_text(json.dumps(file | change), encoding="utf-8")
        with pytest.raises(UserError, match="of type 'WordLevel': expected BPE over bytes, or single"):
            minibitnet.from_pretrained(tmp_path / "m")


def test_a_model_that_was_read_can_be_quantized(tmp_path):
    model_of(linear="float").save_pretrained(tmp_path)
    model = minibitnet.from_pretrained(tmp_path)
    assert minibitnet.quantize_model(model, 4).report.bytes_after < model.config.n_parameters * 2
