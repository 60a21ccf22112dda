"""python -m minibitnet.convert: from each form to each other, compared by the command and once more here."""
import io
import json

import numpy as np
import pytest

import minibitnet
from minibitnet import convert, evaluate, generate
from minibitnet.errors import UsageError
from minibitnet.float16 import BFLOAT16, rounded
from minibitnet.interop import source
from minibitnet.interop.source import TARGETS
from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.text import bpe
from minibitnet.text.bpe_files import Vocabulary
from minibitnet.text.tokenizer import BPETokenizer

IDS = np.arange(30) % 256


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose rows are whole blocks of every format."""
    path = tmp_path_factory.mktemp("convert") / "run"
    text = "In the beginning was the word, and the word was ternary.\n" * 30
    model, *_ = minibitnet.fit(text, tokenizer="byte", d_model=256, d_ffn=256, n_layers=1, n_heads=4,
                               context=32, steps=2, batch=2, progress=False)
    model.save(path)
    return path


def converted(model, out, to, capsys, *more):
    assert convert.main([str(model), str(out), "--to", to, *more]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("to", TARGETS)
def test_a_run_there_and_the_same_logits(to, run, tmp_path, capsys):
    out = tmp_path / ("m.gguf" if to.startswith("gguf") else "m")
    text = converted(run, out, to, capsys)
    assert "7 projections          458,752 weights  ternary   read back: equal" in text
    assert "DIFFERENT" not in text and "rounded" not in text and f"{out}: " in text
    model = minibitnet.load(out, "packed") if to == "packed" else minibitnet.from_pretrained(out)
    assert np.array_equal(model.logits(IDS), minibitnet.load(run).logits(IDS))


def test_what_became_of_an_array():
    a = np.array([1.0, 1.001, -3e-3, 70_000], np.float32)
    off, half = a * np.float32(1.007), np.dtype(np.float16)
    assert source.agreement(a, a.copy()) == "equal"
    assert source.agreement(a, rounded(a, BFLOAT16)) == "rounded"
    assert source.agreement(a[:3], rounded(a[:3], half)) == "rounded"
    for other in (off, rounded(off, BFLOAT16), a[:3], a[::-1], np.zeros(4, half)):
        assert source.agreement(a, other) == "DIFFERENT"


def test_what_cannot_be_kept_leaves_nothing(run, tmp_path, monkeypatch):
    """A value that 16 bits do not hold, in every format; a directory with a file's name, and the reverse."""
    model = minibitnet.load(run)
    model.engine.transformer.parameters()["embed_tokens.weight"].data[3, 3] = 7e4
    large = model.save(tmp_path / "large")
    for to in ("hf", "packed", "gguf-tq2"):
        out = tmp_path / ("m.gguf" if to.startswith("gguf") else "m")
        with pytest.raises(minibitnet.UserError, match="embed_tokens.weight: 70000 is too large for float16"):
            convert.main([str(large), str(out), "--to", to, "--dtype", "float16"])
        assert not out.exists()
    for to, name, message in (("hf", "m.gguf", "--to hf makes a directory"),
                              ("packed", "m.safetensors", "--to packed makes a directory"),
                              ("gguf-q2", "m", "expected a name that ends in .gguf")):
        with pytest.raises(minibitnet.UserError, match=message):
            convert.main([str(run), str(tmp_path / name), "--to", to])
        assert not (tmp_path / name).exists()
    folder = model.save_pretrained(tmp_path / "hf")
    with pytest.raises(minibitnet.UserError, match="is the weights alone: expected its directory"):
        convert.main([str(folder / "model.safetensors"), str(tmp_path / "o"), "--to", "hf"])


def test_random_weights_can_be_packed_at_once(tmp_path, capsys):
    assert convert.main(["--random", "tiny", str(tmp_path / "m"), "--to", "packed"]) == 0
    assert "DIFFERENT" not in capsys.readouterr().out


def test_what_was_converted_writes(run, tmp_path, capsys):
    """By the command, as the run itself does."""
    converted(run, tmp_path / "m", "hf", capsys)
    converted(run, tmp_path / "m.gguf", "gguf-tq2", capsys)
    written = []
    for model in (run, tmp_path / "m", tmp_path / "m.gguf"):
        assert generate.main(["--model", str(model), "--engine", "packed", "--prompt", "the", "--tokens", "5",
                              "--temperature", "0"]) == 0
        written.append(capsys.readouterr().out)
    assert written[0] == written[1] == written[2] != ""
    with pytest.raises(minibitnet.UserError, match="packed weights, of which no floats are left"):
        generate.main(["--model", str(tmp_path / "m"), "--engine", "float", "--prompt", "the"])
    with pytest.raises(UsageError, match="is no run"):
        generate.main(["--model", str(tmp_path / "m"), "--prompt", "the", "--checkpoint", "best"])


def test_what_was_converted_is_scored_as_the_run_is(run, tmp_path, capsys):
    """In windows of as many tokens; which engine, the weights say."""
    converted(run, tmp_path / "m", "hf", capsys)
    (tmp_path / "text.txt").write_text("the word was ternary. " * 20, encoding="utf-8")
    losses = []
    for model in (run, tmp_path / "m"):
        assert evaluate.main(["--model", str(model), "--data", str(tmp_path / "text.txt"), "--context", "16",
                              "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        losses.append(found["loss"])
    assert losses[0] == losses[1] and found["engine"] == "packed"
    for more, message in ([], "nothing says on which text"), (["--data", "pets", "--compare"], "is no run"), (
            ["--data", "pets", "--context", "64"], "at most the model's own, 32"), (
            ["--data", "pets", "--split", "validation"], "'validation' of a model that no run here made"):
        with pytest.raises(minibitnet.UserError, match=message):
            evaluate.main(["--model", str(tmp_path / "m"), *more])


# ---- conversations

@pytest.fixture(scope="module")
def chatting(tmp_path_factory):
    """A directory whose tokenizer has the tokens of a conversation."""
    path = tmp_path_factory.mktemp("chat") / "m"
    tokenizer = BPETokenizer(Vocabulary({bytes([b]): b for b in range(256)}, bpe.PATTERN,
                                        {"<|begin_of_text|>": 256, "<|eot_id|>": 257}))
    c = ModelConfig(vocab_size=258, d_model=16, n_heads=2, d_ffn=24, n_layers=1, context=128)
    corpus = {"documents": True, "begin": 256, "ends": [257]}
    return LanguageModel(FloatEngine(Transformer(c)), tokenizer, {"corpus": corpus}).save_pretrained(path)


def test_a_chat_answers_a_prompt_or_every_line(chatting, capsys, monkeypatch):
    options = ["--model", str(chatting), "--chat", "--tokens", "6", "--temperature", "0"]
    assert generate.main([*options, "--prompt", "Hi"]) == 0
    one = capsys.readouterr().out
    chat = minibitnet.from_pretrained(chatting).chat()
    first, second = ("".join(chat.say(text, 6, temperature=0)) for text in ("Hi", "And?"))
    assert one == first + "\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi\n\nAnd?"))
    assert generate.main(options) == 0
    assert capsys.readouterr().out == f"{first}\n{second}\n"


@pytest.mark.parametrize("more, message", [
    ([], "expected --prompt TEXT, or --chat"),
    (["--prompt", "a", "--system", "b"], "--system b: expected --chat"),
    (["--chat", "--stop", "b"], "an answer ends by itself")])
def test_what_does_not_go_together_is_said(more, message, chatting, capsys):
    with pytest.raises(SystemExit) as ended:
        generate.main(["--model", str(chatting), *more])
    assert ended.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("first", TARGETS)
def test_each_form_can_be_read_again(first, run, tmp_path, capsys):
    """To llama.cpp's and to Hugging Face's, in 16 bits: what is not packed is rounded, and the command says
    so."""
    middle = tmp_path / ("m.gguf" if first.startswith("gguf") else "m")
    converted(run, middle, first, capsys)
    text = converted(middle, tmp_path / "hf", "hf", capsys, "--dtype", "bfloat16")
    assert "embedding" in text and "read back: rounded" in text and "DIFFERENT" not in text
    text = converted(tmp_path / "hf", tmp_path / "last.gguf", "gguf-tq1", capsys)
    assert "bfloat16  read back: equal" in text
    assert minibitnet.from_pretrained(tmp_path / "last.gguf").logits(IDS).shape == (30, 256)


def test_a_float_model_goes_to_hugging_face_alone(tmp_path, capsys):
    model, *_ = minibitnet.fit("the sea and the shore\n" * 60, tokenizer="byte", linear="float", d_model=16,
                               n_layers=1, n_heads=2, context=8, steps=1, batch=2, progress=False)
    model.save(tmp_path / "run")
    assert "7 projections" in converted(tmp_path / "run", tmp_path / "m", "hf", capsys)
    assert np.array_equal(minibitnet.from_pretrained(tmp_path / "m").logits(IDS[:8]), model.logits(IDS[:8]))
    for to, words in (("packed", "expected ternary or binary"), ("gguf-tq2", "expected ternary, which")):
        with pytest.raises(minibitnet.UserError, match=words):
            convert.main([str(tmp_path / "m"), str(tmp_path / "x"), "--to", to])
    with pytest.raises(minibitnet.UserError, match="is there already: expected a new name"):
        convert.main([str(tmp_path / "run"), str(tmp_path / "m"), "--to", "hf"])


def test_random_weights_of_a_shape(tmp_path, capsys):
    assert convert.main(["--random", "tiny", str(tmp_path / "m")]) == 0
    assert "28 projections" in (text := capsys.readouterr().out) and "DIFFERENT" not in text
    model = minibitnet.from_pretrained(tmp_path / "m")
    assert model.config.vocab_size == 512 == model.tokenizer.vocab_size and model.begin == 256
    assert model.generate("a", 3, temperature=0) == minibitnet.from_pretrained(tmp_path / "m").generate(
        "a", 3, temperature=0)


@pytest.mark.parametrize("argv, words", [
    (["a"], "expected IN and OUT"), (["a", "b", "c", "--to", "hf"], "expected IN and OUT"),
    (["a", "b"], "expected --to and one of hf, gguf"), (["--random", "tiny", "a", "b"], "--random and OUT"),
    (["a", "b", "--to", "onnx"], "onnx")])
def test_what_is_to_be_said(argv, words, capsys):
    with pytest.raises(SystemExit):
        convert.main(argv)
    assert words in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_what_differs_is_said(run, tmp_path, capsys, monkeypatch):
    """A weight or a scale that is not what was read, exit 1."""
    usual = source.write

    def damaged(model, path, to, dtype):
        name = next(iter(model.matrices))
        wrong = {name: model.matrices[name]._replace(scale=np.float32(7))}
        usual(model._replace(matrices=dict(model.matrices) | wrong), path, to, dtype)
    monkeypatch.setattr(source, "write", damaged)
    with pytest.raises(minibitnet.UserError, match="does not hold what was read"):
        convert.main([str(run), str(tmp_path / "m"), "--to", "hf"])
    assert "read back: DIFFERENT" in capsys.readouterr().out
    assert json.loads((tmp_path / "m" / "config.json").read_text())["model_type"] == "bitnet"
