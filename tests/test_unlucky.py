"""What an unlucky user does to what is there: nothing is lost, and it is said in one line."""
import copy
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minibitnet
from minibitnet import files
from minibitnet.errors import NonFiniteError, UserError
from minibitnet.fitting import History, Interruption, fit
from minibitnet.formats.rundir import RunDirectory
from minibitnet.jobs import read_config
from minibitnet.text.tokenizer import ByteTokenizer
from minibitnet.train import typeable
from minibitnet.variants import VARIANTS

TEXT = "to be or not to be, that is the question.\n" * 40
SMALL = {"d_model": 16, "n_layers": 1, "n_heads": 2, "context": 16, "batch": 4, "steps": 2, "progress": False}


@pytest.fixture(scope="module")
def model():
    return fit(TEXT, **SMALL).model


def test_a_device_is_not_replaced_by_a_file():
    """A rename over /dev/null would, for root."""
    if not Path(os.devnull).is_char_device():
        pytest.skip("no device to try it on")
    with pytest.raises(OSError, match="this is a device"):
        files.write_atomically(Path(os.devnull), [b"x"], 1)
    assert Path(os.devnull).is_char_device()


def test_a_model_is_not_lost_to_one_that_does_not_fit_on_the_disk(model, tmp_path, monkeypatch):
    model.save(tmp_path / "run")
    before = (tmp_path / "run/last.safetensors").read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="the disk has 1,000 free"):
        model.save(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run/last.safetensors").read_bytes() == before


@pytest.mark.parametrize("path", ["", None, 123])
def test_an_empty_name_is_not_the_current_folder(path, model):
    with pytest.raises(UserError, match="expected the name of a directory to write to"):
        model.save(path)
    if path is not None:
        with pytest.raises(UserError, match="expected the name of a directory to write to"):
            fit(TEXT, out=path, **SMALL)


def test_a_picture_of_the_users_is_not_replaced(model, tmp_path):
    pytest.importorskip("matplotlib")
    fit(TEXT, out=tmp_path / "run", **SMALL)
    (tmp_path / "mine.svg").write_text("mine")
    plot = [sys.executable, "-m", "minibitnet.plot", "run", "--out", "mine.svg"]
    done = subprocess.run(plot, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1 and "replace it with --overwrite" in done.stderr
    assert (tmp_path / "mine.svg").read_text() == "mine"
    assert subprocess.run([*plot, "--overwrite"], cwd=tmp_path).returncode == 0


def test_a_quantizer_that_works_in_place_is_refused(monkeypatch):
    """Every latent weight would become -1, 0 or +1, without a word."""
    monkeypatch.setattr(minibitnet.variants, "VARIANTS", dict(VARIANTS))
    with pytest.raises(UserError, match="changes the weights that it is given"):
        minibitnet.register_variant("in_place", lambda w: (np.sign(w, out=w), np.float32([[0.1]])))


@pytest.mark.parametrize("continuations", ["king", ["a", ""], [1], None])
def test_continuations_are_texts_in_a_list(continuations, model):
    with pytest.raises(UserError, match="expected texts in a list, none empty"):
        model.log_likelihoods("to", continuations)
    assert len(model.log_likelihoods("to", [])) == 0


def test_a_long_line_is_no_name_of_a_file():
    with pytest.raises(UserError, match="is no name of a file: expected one, or a text of more than"):
        fit("a b" * 300, **SMALL)


@pytest.mark.parametrize("config", [{"model": {}, "train": {}, "derived": None}, {"derived": []}])
def test_a_config_whose_sections_are_no_objects_is_one_line(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="expected the parts model and train, each an object"):
        read_config(tmp_path / "config.json")


def test_lines_of_metrics_that_are_none_of_ours_are_passed_over(tmp_path):
    good = {"step": 2, "tokens": 20, "loss": 1.5, "floor": None}
    bad = [{"step": 6, "tokens": "x", "loss": 1}, {"step": 7, "tokens": 1, "loss": {}}, {"loss": 1}, [], 3]
    lines = [good, *bad]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert RunDirectory(tmp_path).metrics() == [good]


def test_a_history_without_a_step_has_no_picture():
    for nothing in (History([]), {}, None, [1, 2]):
        with pytest.raises(UserError, match="expected the history of a fit that logged a step"):
            minibitnet.draw_loss(nothing)


# ---- models and layers are copied, compared, kept

@pytest.mark.parametrize("engine, threads", [("packed", 1), ("packed", 2), ("integer", 1)])
def test_a_packed_model_is_copied_and_pickled(engine, threads, model):
    packed = model.pack(engine, threads=threads)
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert np.array_equal(other.logits([1, 2, 3]), packed.logits([1, 2, 3]))


def test_layers_and_histories_are_equal_where_their_numbers_are(model):
    lines = [{"step": 1, "loss": 2.0, "val_loss": None}, {"step": 2, "loss": 1.5}]
    assert History(lines) == History(lines) != History(lines[:1])
    assert History(lines) != History(lines, floor=1.0) and History(lines) != dict(History(lines))
    layers = fit(TEXT, **SMALL).model.layers()
    assert layers == model.layers() and layers != model.pack().layers() and layers[0] != layers[1]
    assert layers != fit(TEXT, seed=1, **SMALL).model.layers()


def test_a_saved_model_keeps_its_history_and_goes_on_in_files(model, tmp_path):
    """Longer, as the run of the command does: with what was derived, derived anew."""
    model.save(tmp_path / "run")
    assert [line["step"] for line in RunDirectory(tmp_path / "run").metrics()] == [1, 2]
    lr = read_config(tmp_path / "run/config.json")["derived"]["train"]["lr"]
    assert lr == model.settings["train"]["lr"]
    (tmp_path / "text").write_text(TEXT)
    train = [sys.executable, "-m", "minibitnet.train", "--resume", "run", "--steps", "4", "--data", "text"]
    done = subprocess.run(train, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert minibitnet.load(tmp_path / "run").step == 4


def test_what_goes_on_says_why_it_does_not(model, tmp_path):
    with pytest.raises(UserError, match="this model's run is finished, 2 steps of 2"):
        fit(model=model)
    with pytest.raises(UserError, match="a longer one is made in files"):
        fit(model=model, steps=50)
    loaded = minibitnet.load(model.save(tmp_path / "run"))
    with pytest.raises(UserError, match="read from files or packed: expected data"):
        fit(model=loaded)


def test_a_rate_is_a_float_however_it_is_written():
    """Or config.json would differ from the command's."""
    config = fit(TEXT, lr=1, tied=np.True_, **SMALL | {"seed": np.int64(3)}).model.settings
    assert json.dumps(config["train"]["lr"]) == "1.0" and config["model"]["tied"] is True
    assert type(config["train"]["seed"]) is int
    with pytest.raises(UserError, match="lr = 1000.*: expected"):
        fit(TEXT, lr=10**400, **SMALL)


# ---- what is no number, no layer, no text

def test_weights_that_are_no_numbers_are_not_shown_as_codes(model):
    broken = copy.deepcopy(model)
    broken.engine.transformer.parameters()["layers.0.mlp.up_proj.weight"].data[0, 0] = np.nan
    for look in (broken.layers, lambda: broken.trace([1])):
        with pytest.raises(NonFiniteError, match="layers.0.mlp.up_proj.weight is not finite everywhere"):
            look()


@pytest.mark.parametrize("draw, thing, message", [
    (minibitnet.draw_weights, [[1, 2]], "expected a layer, one of model.layers"),
    (minibitnet.draw_histogram, None, "expected a layer, one of model.layers"),
    (minibitnet.draw_bytes, "layers.0", "expected a layer, one of model.layers"),
    (minibitnet.draw_attention, [1, 2, 3], "expected what model.trace"),
    (minibitnet.draw_attention, None, "expected what model.trace")])
def test_a_picture_of_something_else_is_one_line(draw, thing, message):
    with pytest.raises(UserError, match=message):
        draw(thing)


def test_a_picture_of_no_bytes_or_a_million_is_one_line(model):
    layer = model.layers()[0]
    for count in (0, -1, 10**6, 2.5, None):
        with pytest.raises(UserError, match="expected a count, at least 1, at most 64"):
            minibitnet.draw_bytes(layer, count)
    with pytest.raises(UserError, match="rows = 0: expected a count, at least 1$"):
        minibitnet.draw_weights(layer, rows=0)
    with pytest.raises(UserError, match="2 tokens at the axes: expected the trace's 3"):
        minibitnet.draw_attention(model.trace([1, 2, 3]), tokens=["a", "b"])
    with pytest.raises(UserError, match="floor = 'low': expected a number of nats"):
        minibitnet.draw_loss({"tokens": np.arange(2), "loss": np.arange(2)}, floor="low")


@pytest.mark.parametrize("lr", [0, -1, float("nan"), float("inf"), "fast", True])
def test_a_variants_learning_rate_is_a_number_above_0(lr):
    with pytest.raises(UserError, match="expected a number above 0"):
        minibitnet.register_variant("other", minibitnet.absmean_ternary, lr=lr)
    with pytest.raises(UserError, match="quantize = None: expected a function"):
        minibitnet.register_variant("other", None)


def test_what_is_no_text_is_not_encoded_and_no_list_is_not_decoded(model):
    for tokenizer in (model.tokenizer, ByteTokenizer()):
        for text in (None, b"to be", ["to"]):
            with pytest.raises(UserError, match="expected a text"):
                tokenizer.encode(text)
        for ids in (3, [[1]], [0.5], [None], [2**70]):
            with pytest.raises(UserError, match="expected whole numbers from 0 to .*, in a list"):
                tokenizer.decode(ids)


@pytest.mark.parametrize("ids", [[None], [2**70], {1, 2}])
def test_what_is_no_id_is_named(ids, model):
    with pytest.raises(UserError, match="token ids .*: expected"):
        model.logits(ids)


def test_a_number_of_5000_digits_is_not_printed():
    with pytest.raises(UserError, match="steps = a number of 16,610 bits: expected") as caught:
        fit(TEXT, **SMALL | {"steps": 10**5000})
    assert len(str(caught.value)) < 200
    done = subprocess.run([sys.executable, "-m", "minibitnet.train", "--steps", "9" * 5000], text=True,
                          capture_output=True)
    assert done.returncode == 2 and len(done.stderr) < 300


def test_a_million_threads_are_mistyped(model):
    """To start them stops the machine for minutes."""
    for threads in (0, 10**6, 2.0, None):
        with pytest.raises(UserError, match="expected a count from 1 to 1,024"):
            model.pack(threads=threads)
    with pytest.raises(UserError, match="expected a count from 1 to 1,024"):
        fit(TEXT, threads=10**6, **SMALL)
    done = subprocess.run([sys.executable, "-m", "minibitnet.train", "--threads", "1000000"], text=True,
                          capture_output=True)
    assert done.returncode == 2 and "1000000: expected at most 1,024" in done.stderr


def test_a_configuration_of_another_kind_is_one_line():
    with pytest.raises(UserError, match="^None: expected a ModelConfig"):
        minibitnet.Transformer(None)
    with pytest.raises(ValueError, match=r"an array of shape \(0, 3\): expected a number at least"):
        minibitnet.absmean_ternary(np.zeros((0, 3), np.float32))


# ---- files and folders

def test_a_full_disk_is_one_line_of_a_notebook(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError) as caught:
        files.write_atomically(tmp_path / "file", [b"x"], 1)
    [line] = caught.value._render_traceback_()
    assert line.startswith("FileError: cannot write ") and "No space left on device (1 bytes needed" in line


def test_a_config_in_another_encoding_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-16")
    with pytest.raises(UserError, match="byte 0 is not UTF-8: expected text in UTF-8"):
        read_config(tmp_path / "config.json")


@pytest.mark.parametrize("target", ["nowhere", "run"])
def test_a_link_that_leads_nowhere_is_named(target, tmp_path):
    try:
        (tmp_path / "run").symlink_to(tmp_path / target)
    except OSError:
        pytest.skip("no symbolic links here")
    with pytest.raises(UserError, match="run is in the way, a symbolic link to .*, which leads nowhere"):
        fit(TEXT, out=tmp_path / "run", **SMALL)


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no folder that is somebody's current one")
def test_a_deleted_current_folder_is_one_line(tmp_path):
    (tmp_path / "gone").mkdir()
    code = ("import os, sys; os.rmdir(os.getcwd()); from minibitnet import _command, plot; "
            "sys.argv = ['plot', 'run']; _command.run(plot.main)")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "gone", capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == (
        "error: the current folder was deleted: expected one that is there (cd elsewhere)\n")


# ---- terminals

def test_a_suggested_prompt_can_be_typed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(encoding="latin-1"))
    found = [typeable(text) for text in ("ab\x1b[1m", "caf\xe9 \u4e00", "\ttab", "")]
    assert found == ["ab", "caf\xe9 ", "", ""]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_that_is_ignored_stays_ignored():
    """As of `command &` in a script, which Ctrl-C of another command shall not end."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption(hard=False) as interruption:
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.signal is None
        code = ("from minibitnet import _command; import os, signal; "
                "_command.run(lambda argv: os.kill(os.getpid(), signal.SIGINT))")
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    finally:
        signal.signal(signal.SIGINT, before)
    with Interruption(hard=False) as interruption:
        os.kill(os.getpid(), signal.SIGINT)
    assert interruption.signal == signal.SIGINT


# ---- what lies there is not ours

def test_a_file_that_only_looks_like_a_temporary_one_of_ours_stays(model, tmp_path):
    for name in ("thesis.tmp-2024", "last.safetensors.tmp-mine", "last.safetensors.tmp-123"):
        (tmp_path / name).write_text("precious")
    model.save(tmp_path)
    left = {path.name for path in tmp_path.glob("*.tmp-*")}
    assert left == {"thesis.tmp-2024", "last.safetensors.tmp-mine"}


def test_files_that_are_no_run_are_not_called_one(model, tmp_path):
    (tmp_path / "config.json").write_text('{"my": 1}')
    with pytest.raises(UserError, match="holds config.json, but no run: expected a new directory"):
        model.save(tmp_path)
    model.save(tmp_path, overwrite=True)
    with pytest.raises(UserError, match="holds a finished run"):
        model.save(tmp_path)


def test_the_root_of_a_disk_is_no_place_for_a_run(model):
    with pytest.raises(UserError, match="is the root of a disk: expected a directory of its own"):
        model.save(Path("/").resolve())


@pytest.mark.parametrize("name", ["overwrite", "tiny", "progress"])
def test_no_is_not_yes(name, model, tmp_path):
    with pytest.raises(UserError, match=f"{name} = 'no': expected True or False"):
        fit(TEXT, **SMALL | {name: "no"})
    with pytest.raises(UserError, match="overwrite = 'no': expected True or False"):
        model.save(tmp_path / "run", overwrite="no")


@pytest.mark.parametrize("path, message", [("a\0b", "has no NUL"), ("x" * 5000, "too long for one")])
def test_a_path_that_none_can_be_is_one_line(path, message, model):
    for call in (lambda: model.save(path), lambda: fit(TEXT, out=path, **SMALL),
                 lambda: minibitnet.load(path)):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert len(str(caught.value)) < 200


def test_a_text_that_was_named_and_is_not_there_is_not_the_runs_own(model, tmp_path):
    (tmp_path / "text").write_text(TEXT)
    fit(tmp_path / "text", out=tmp_path / "run", **SMALL)
    train = [sys.executable, "-m", "minibitnet.train", "--resume", "run", "--data"]
    done = subprocess.run([*train, "missing.txt"], cwd=tmp_path, capture_output=True, text=True)
    assert "'missing.txt' does not exist" in done.stderr and "began with it" not in done.stderr
    (tmp_path / "run/tokenizer.json").unlink()
    with pytest.raises(UserError, match="expected the tokenizer that the run was made with; was it deleted"):
        minibitnet.load(tmp_path / "run")


def test_a_variant_that_was_not_registered_is_to_be(tmp_path):
    with pytest.raises(UserError, match="one of your own is registered first: minibitnet.register_variant"):
        fit(TEXT, linear="twn", **SMALL)


def test_a_size_below_0_names_the_range_that_help_does():
    for name in ("n_kv_heads", "d_ffn"):
        with pytest.raises(UserError, match=f"{name} = -1: expected a value from 0"):
            minibitnet.ModelConfig(**{name: -1})


@pytest.mark.parametrize("targets, message", [
    ([[999, 1]], "targets up to 999: expected integers below"),
    ([[1.0, 1.0]], "targets of type float64"),
    ([[True, False]], "targets of type bool"),
    ([[1]], r"of shapes \(1, 2\) and \(1, 1\): expected one shape"),
    ([["a", "b"]], "targets of type <U1"),
    ([[1], [1, 2]], "unequal lengths")])
def test_targets_are_ids_of_the_same_shape(targets, message, model):
    for score in (model.losses, model.surprisal, model.pack().surprisal):
        assert score([[1, 2]], [[2, 3]]).size == 2
        with pytest.raises(UserError, match=message):
            score([[1, 2]], targets)


def test_what_has_no_source_or_is_no_quantizer_is_one_line(model):
    with pytest.raises(UserError, match="there is no file with its source"):
        minibitnet.show(np.array)
    with pytest.raises(UserError, match="^3: expected a quantizer"):
        minibitnet.straight_through(3)
    with pytest.raises(UserError, match="context = 5: expected a text"):
        model.log_likelihoods(5, [])
    assert minibitnet.draw_loss({"tokens": [1, 2], "loss": [3.0, 2.0]})
