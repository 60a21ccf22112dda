"""``fit`` is the command train without files, and with: the same bytes."""
import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import minibitnet
from minibitnet import fitting, train
from minibitnet.errors import NonFiniteError, UserError
from minibitnet.formats.checkpoint import parameters_sha256
from minibitnet.nn.training import Recorder

SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2, "context": 16, "batch": 4, "steps": 8, "save_every": 2,
         "eval_every": 4}
TEXT = "In the beginning was the word, and the word was ternary.\n" * 40
OTHER = "the word was binary, and in the beginning was the\n" * 40


def fit(data=TEXT, **options):
    return minibitnet.fit(data, progress=False, **(SMALL if "model" not in options else {}) | options)


def sha256(model):
    return parameters_sha256(model.engine.transformer.arrays())


def flags(options):
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture(scope="module")
def fitted():
    return fit()


@pytest.fixture(scope="module")
def commanded(tmp_path_factory):
    """(a folder with t.txt and what the command made of it, in run; what it printed)"""
    folder = tmp_path_factory.mktemp("command")
    (folder / "t.txt").write_bytes(TEXT.encode())
    done = subprocess.run([sys.executable, "-m", "minibitnet.train", "--data", "t.txt", "--out", "run",
                           *flags(SMALL)], cwd=folder, capture_output=True, text=True, check=True)
    return folder, done.stdout


def interrupt_after(step, monkeypatch, again=0):
    """The interrupt of a kernel comes while this step is recorded; the next one is the last."""
    record = Recorder.record

    def interrupted(self, line, *rest):
        record(self, line, *rest)
        if line["step"] == step:
            for _ in range(1 + again):
                signal.raise_signal(signal.SIGINT)
    monkeypatch.setattr(Recorder, "record", interrupted)


# ---- the same bytes

def test_a_text_gives_the_model_that_the_command_makes_of_a_file(fitted, commanded):
    assert re.search(r"model sha256 (\w+)", commanded[1])[1] == sha256(fitted.model)
    loaded = minibitnet.load(commanded[0] / "run")
    assert np.array_equal(fitted.model.logits([1, 2, 3]), loaded.logits([1, 2, 3]))


def test_a_path_gives_the_same(fitted, commanded):
    assert sha256(fit(commanded[0] / "t.txt").model) == sha256(fitted.model)
    assert sha256(fit(str(commanded[0] / "t.txt")).model) == sha256(fitted.model)


def test_a_directory_has_what_the_command_leaves(fitted, commanded, tmp_path, monkeypatch):
    """Byte for byte, but for times and the machine."""
    ours, theirs = tmp_path / "run", commanded[0] / "run"
    monkeypatch.chdir(commanded[0])
    fit("t.txt", out=ours)
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    for name in ("tokenizer.json", "packed.safetensors", "last.safetensors", "best.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    for engine in ("float", "packed"):
        assert np.array_equal(minibitnet.load(ours, engine).logits([5, 6]), fitted.model.logits([5, 6]))
    with pytest.raises(UserError, match="holds a finished run"):
        fit(out=ours)
    assert sha256(fit(out=ours, overwrite=True).model) == sha256(fitted.model)


def test_tiny_is_the_commands(monkeypatch):
    """On another text than the stories it has neither their vocabulary nor, with another width, their
    learning rate."""
    found = []

    def stop(job):
        found.append(job)
        raise InterruptedError
    monkeypatch.setattr(fitting, "Training", stop)
    for data, options in ((None, {}), (TEXT, {"context": 16}), ("stories", {"linear": "float"})):
        with pytest.raises(InterruptedError):
            minibitnet.fit(data, tiny=True, **options)
    c = [(job.train_config.tokenizer, job.train_config.lr, job.model_config.d_model) for job in found]
    assert c == [("bpe:512", 8e-3, 128), ("char", 8e-3, 128), ("bpe:512", 3e-3, 128)]


def test_nothing_is_written_unless_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    minibitnet.fit(TEXT, **SMALL)
    assert list(tmp_path.iterdir()) == []
    out, err = capsys.readouterr()
    assert out == "" and ("8/8" in err or os.environ.get("TQDM_DISABLE"))


# ---- going on

def test_an_interrupted_run_goes_on_to_the_same_bytes(fitted, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        part = fit()
    before = sha256(part.model)
    assert part.model.step == 3 and before != sha256(fitted.model)
    whole = fit(None, model=part.model)
    assert whole.model.step == 8 and sha256(whole.model) == sha256(fitted.model)
    for name in ("step", "loss", "val_loss", "lr"):
        assert np.array_equal(whole.history[name], fitted.history[name], equal_nan=True)
    assert part.model.step == 3 and sha256(part.model) == before, "the model itself stays what it is"
    assert sha256(fit(None, model=part.model).model) == sha256(fitted.model), "so it goes on once more"
    with pytest.raises(UserError, match="this model's run is finished"):
        fit(None, model=whole.model)


def test_an_interrupted_run_in_a_directory_goes_on_there(fitted, monkeypatch, tmp_path, commanded):
    def interrupted(path):
        with monkeypatch.context() as patch:
            interrupt_after(5, patch)
            return fit(out=path).model
    model = interrupted(tmp_path / "a")
    assert sha256(fit(None, model=model).model) == sha256(fitted.model)
    assert (tmp_path / "a/packed.safetensors").exists()
    with pytest.raises(UserError, match="went on, to another step than this model's, 6"):
        fit(None, model=model)
    interrupted(tmp_path / "b")
    args = ["--resume", str(tmp_path / "b"), "--data", str(commanded[0] / "t.txt")]
    assert train.main(args) == 0
    assert sha256(minibitnet.load(tmp_path / "b")) == sha256(fitted.model)


def test_an_interrupted_run_that_is_saved_is_resumed_by_the_command(fitted, monkeypatch, tmp_path,
                                                                    commanded):
    """Moments, metrics and all."""
    with monkeypatch.context() as patch:
        interrupt_after(4, patch)
        model = fit().model
    model.save(tmp_path / "run")
    assert train.main(["--resume", str(tmp_path / "run"), "--data", str(commanded[0] / "t.txt")]) == 0
    assert sha256(minibitnet.load(tmp_path / "run")) == sha256(fitted.model)
    history = fitting.History(fitting.jobs.RunDirectory(tmp_path / "run").metrics())
    assert np.array_equal(history["loss"], fitted.history["loss"])


def test_a_second_interrupt_ends_it_at_once(monkeypatch):
    interrupt_after(2, monkeypatch, again=1)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit()
    assert signal.getsignal(signal.SIGINT) is handler


def test_another_text_starts_from_the_weights(fitted):
    """With a learning rate of next to nothing it stays there; a seed's weights are elsewhere."""
    model = fit(OTHER, model=fitted.model, steps=1, lr=1e-12, warmup=0).model
    models = fitted.model, model, fit(steps=1, lr=1e-12).model
    old, new, seeds = (m.latent() for m in models)
    assert all(np.allclose(new[name], old[name], atol=1e-6) for name in old)
    assert not np.allclose(seeds["lm_head.weight"], old["lm_head.weight"], atol=1e-3)
    assert model.tokenizer is fitted.tokenizer and model.step == 1
    with pytest.raises(UserError, match="d_model = 32: the model to start from has 16"):
        fit(OTHER, model=fitted.model, d_model=32)
    with pytest.raises(UserError, match="characters are unknown"):
        fit("0123456789\n" * 100, model=fitted.model)
    with pytest.raises(UserError, match=r"fit\(model=...\) of a model on the PackedModel"):
        fit(OTHER, model=fitted.model.pack())


def test_a_weight_that_is_no_number_is_not_trained_on():
    model = fit(steps=1).model
    model.engine.transformer.lm_head.weight.data[0, 0] = np.nan
    with pytest.raises(NonFiniteError, match=r"^fit\(model=...\): lm_head.weight is not finite"):
        fit(OTHER, model=model)


# ---- history

def test_the_history_is_arrays(fitted):
    h = fitted.history
    assert list(h["step"]) == [4, 8] and h["step"].dtype.kind == "i" and h.floor is None
    assert set(h) >= {"step", "tokens", "loss", "ppl", "lr", "weight_decay", "grad_norm", "tokens_per_s",
                      "val_loss", "val_ppl", "bits_per_byte", "zero_fraction"}
    assert all(isinstance(h[name], np.ndarray) and len(h[name]) == 2 for name in h)
    assert h["tokens"][-1] == 8 * 4 * 16 and h["val_loss"][-1] < h["val_loss"][0]
    last = f"{h['val_loss'][-1]:.4f}"
    assert repr(h).startswith(f"<History: 8 steps, validation loss {last}; step, tokens, loss")
    assert repr(fitting.History(())) == "<History: no step>"


def test_a_column_is_nan_where_a_line_has_none():
    h = fit(log_every=1, linear="float").history
    assert list(h["step"]) == list(range(1, 9))
    assert list(np.isnan(h["val_loss"])) == [True] * 3 + [False] + [True] * 3 + [False]
    assert np.isnan(h["zero_fraction"]).all(), "floats have no codes"


def test_the_floor_is_there_where_the_source_is_known():
    _, tokenizer, history = fit("stories", tokenizer="bpe:300", steps=1, context=64)
    assert 0 < history.floor < history["val_loss"][-1] and f"(floor {history.floor:.4f})" in repr(history)
    assert tokenizer.vocab_size == 300


# ---- mistakes

@pytest.mark.parametrize("data, options, message", [
    (None, {}, "^fit\\(\\) without data: expected a text, the name of a corpus, or the path of a file"),
    (7, {}, "^data of type int: expected a text"),
    ("no such file", {}, "^corpus 'no such file' does not exist"),
    (TEXT, {"stpes": 8}, "^unknown option 'stpes'; did you mean 'steps'"),
    (TEXT, {"d_modl": 8}, "^unknown option 'd_modl'; did you mean 'd_model'"),
    (TEXT, {"d_model": 64.0}, "^d_model = 64.0: expected int"),
    (TEXT, {"steps": True}, "^steps = true: expected int"),
    (TEXT, {"lr": "fast"}, '^lr = "fast": expected float'),
    (TEXT, {"linear": "ternery"}, "^linear = 'ternery': expected one of ternary"),
    (TEXT, {"tokenizer": b"char"}, "^tokenizer = \"b'char'\": expected str"),
    (TEXT, {"threads": 0}, "^threads = 0: expected a count"),
    (TEXT, {"threads": 1.5}, "^threads = 1.5: expected a count"),
    (TEXT, {"model": "runs/tiny"}, "^model = 'runs/tiny': expected a model, as fit or load gives it"),
    ("\n\n", {}, "^the text is"),
])
def test_a_mistake_is_one_line(data, options, message):
    with pytest.raises(UserError, match=message):
        fit(data, **options)


def test_numbers_of_numpy_are_numbers(fitted):
    options = {name: np.int64(value) for name, value in SMALL.items()}
    assert sha256(fit(**options).model) == sha256(fitted.model)


def test_a_long_text_on_one_line_is_a_text(fitted):
    assert fit(TEXT.replace("\n", " ")).model.config.vocab_size == fitted.model.config.vocab_size - 1


def test_a_training_runs_in_a_thread(fitted, tmp_path, commanded):
    """Signal handlers belong to the main thread; without them it trains all the same, and so does the
    command's main."""
    found = []

    def work():
        found.append(sha256(fit().model))
        found.append(train.main(["--data", str(commanded[0] / "t.txt"), "--out", str(tmp_path / "run"),
                                 *flags(SMALL)]))
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [sha256(fitted.model), 0]
