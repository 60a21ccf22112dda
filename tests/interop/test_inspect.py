"""``inspect`` names every planted fault, and calls sound what is sound."""
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import HEARD, SHOWN, planted, set_to

import minibitnet
from minibitnet import inspect
from minibitnet.errors import UserError
from minibitnet.float16 import widen
from minibitnet.formats import safetensors
from minibitnet.formats.packed import PackedMatrix
from minibitnet.interop import readings, soundness, source
from minibitnet.interop.examination import examine
from minibitnet.interop.soundness import FAULTS
from minibitnet.packing import pack_ternary


UP = "layers.0.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def storyteller(tmp_path_factory):
    """The trained model that comes along, as a directory of Hugging Face."""
    folder = tmp_path_factory.mktemp("inspect") / "storyteller"
    source.write(source.read("storyteller"), folder, "hf", "float32")
    return folder


@pytest.fixture
def few(monkeypatch):
    """A model is heard on a few tokens."""
    monkeypatch.setattr(readings, "TOKENS", (128, 400))


def faults(path, **options):
    return {finding.fault for finding in examine(path, **options).findings}


def looked_at(codes, scale=0.1):
    matrix = PackedMatrix(pack_ternary(codes), len(codes), np.float32(scale))
    return soundness.look("layers.3.mlp.up_proj.weight", matrix)


# ---- faults

@pytest.mark.parametrize("name", SHOWN)
def test_a_fault_that_shows_is_named(name, storyteller):
    fault, plant = SHOWN[name]
    assert faults(storyteller, run=False) == set()
    with planted(storyteller, plant):
        assert fault in faults(storyteller, run=False)
    assert faults(storyteller, run=False) == set(), "it was taken out again"


@pytest.mark.parametrize("name", HEARD)
def test_a_fault_that_running_tells_is_named(name, storyteller, monkeypatch):
    """And no other one. (Another activation costs little: that takes more tokens to see.)"""
    fault, plant = HEARD[name]
    if fault != "activation":
        monkeypatch.setattr(readings, "TOKENS", (128, 400))
    with planted(storyteller, plant):
        assert faults(storyteller) == {fault}
        if name not in ("scales inverted", "legacy class"):          # those are to be guessed
            assert faults(storyteller, run=False) == set(), "nothing shows"


def test_every_fault_has_been_planted():
    """Those that need another kind of model are below."""
    elsewhere = {"lopsided", "head beside a tied one", "stale packing", "not as published", "quantized twice"}
    assert {fault for fault, _ in (SHOWN | HEARD).values()} | elsewhere == set(FAULTS)


@pytest.mark.parametrize("dead, named", [(63, False), (65, True), (256, True)])
def test_a_quarter_of_a_norm_s_gains_may_be_0(dead, named):
    gains = np.ones(256, np.float32)
    gains[:dead] = 0
    found = [finding.fault for finding in soundness.of_arrays({"layers.0.input_layernorm.weight": gains})]
    assert found == ["dead gains"] * named


def test_lopsided_codes_are_named():
    codes = np.random.default_rng(0).choice(np.array([-1, 0, 1], np.int8), (64, 64), p=[0.5, 0.25, 0.25])
    assert [finding.fault for finding in soundness.of_matrices([looked_at(codes)])] == ["lopsided"]


@pytest.fixture
def trained():
    fitted = minibitnet.fit("pets", progress=False, d_model=32, n_layers=2, n_heads=2, d_ffn=48, context=32,
                            steps=2, batch=2, tied=True, tokenizer="byte")
    return fitted.model


def test_a_head_beside_a_tied_one_is_named(trained, tmp_path):
    folder = trained.save_pretrained(tmp_path / "m")
    assert faults(folder, run=False) == set()
    arrays, _ = safetensors.load(folder / "model.safetensors")
    arrays["lm_head.weight"] = arrays["model.embed_tokens.weight"].copy()
    safetensors.save(folder / "model.safetensors", arrays, {"format": "pt"})
    assert faults(folder, run=False) == set(), "the same once more is no fault"
    arrays["lm_head.weight"][3, 3] += 1
    safetensors.save(folder / "model.safetensors", arrays, {"format": "pt"})
    assert faults(folder, run=False) == {"head beside a tied one"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_head_of_another_type_is_compared_by_its_numbers(dtype, trained, tmp_path):
    folder = trained.save_pretrained(tmp_path / "m", dtype=dtype)
    arrays, _ = safetensors.load(folder / "model.safetensors")
    arrays["lm_head.weight"] = widen(arrays["model.embed_tokens.weight"])
    safetensors.save(folder / "model.safetensors", arrays, {"format": "pt"})
    assert faults(folder, run=False) == set()
    arrays["lm_head.weight"] = np.zeros(arrays["lm_head.weight"].shape, np.float16)
    safetensors.save(folder / "model.safetensors", arrays, {"format": "pt"})
    assert faults(folder, run=False) == {"head beside a tied one"}


def test_masters_that_have_no_codes_are_named_and_the_rest_is_told(trained, tmp_path):
    folder = trained.save_pretrained(tmp_path / "m", packed=False)
    arrays, _ = safetensors.load(folder / "model.safetensors")
    arrays[f"model.{UP}"][0, 0] = np.nan
    safetensors.save(folder / "model.safetensors", arrays, {"format": "pt"})
    found = examine(folder)
    assert [finding.fault for finding in found.findings] == ["damaged file"]
    assert len(found.seen) == 13, "all but one of two layers' seven"


def test_masters_that_were_quantized_already_are_named(trained, tmp_path):
    for parameter in trained.engine.transformer.parameters().values():
        if parameter.data.shape == (48, 32):                         # gate and up
            codes, scale = minibitnet.absmean_ternary(parameter.data)
            parameter.data[:] = codes * scale
    folder = trained.save_pretrained(tmp_path / "m", packed=False)
    found = examine(folder, run=False)
    assert [finding.fault for finding in found.findings] == 4 * ["quantized twice"]


def test_a_stale_packing_and_a_damaged_older_checkpoint_are_named(trained, tmp_path):
    run = trained.save(tmp_path / "run")
    assert faults(run, run=False) == set()
    (run / "best.safetensors").write_bytes((run / "last.safetensors").read_bytes()[:-5])
    assert faults(run, run=False) == {"damaged file"}
    (run / "best.safetensors").unlink()
    other = trained.engine.transformer.parameters()["layers.0.mlp.up_proj.weight"].data
    other[:] = -other
    packed = trained.save(tmp_path / "other") / "packed.safetensors"
    (run / "packed.safetensors").write_bytes(packed.read_bytes())
    assert faults(run, run=False) == {"stale packing"}


@pytest.mark.parametrize("name, change", [(f"model.{UP}_scale", lambda a: 5 * a),
                                          ("model.embed_tokens.weight", lambda a: np.roll(a, 1, 0))])
def test_a_packing_of_other_scales_or_another_embedding_is_named(name, change, trained, tmp_path):
    run = trained.save(tmp_path / "run")
    arrays, metadata = safetensors.load(run / "packed.safetensors")
    safetensors.save(run / "packed.safetensors", arrays, metadata)
    assert faults(run, run=False) == set(), "written again, it is the same"
    safetensors.save(run / "packed.safetensors", arrays | {name: change(arrays[name])}, metadata)
    assert faults(run, run=False) == {"stale packing"}


def test_another_activation_than_published_is_named():
    from minibitnet.nn.config import ModelConfig
    from minibitnet.measure.random_models import SHAPES
    c = ModelConfig(**SHAPES["2b4t"])
    assert list(soundness.of_config(c)) == []
    [finding] = soundness.of_config(replace(c, activation="silu", rope_theta=10_000.0))
    assert finding.fault == "not as published"
    assert "activation = 'relu2', not 'silu', rope_theta = 500000.0" in finding.said


# ---- what is sound

@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A run whose rows are whole blocks of every kind of GGUF."""
    fitted = minibitnet.fit("pets", progress=False, d_model=256, n_layers=1, n_heads=2, d_ffn=256, context=32,
                            steps=40, batch=8, tokenizer="byte")
    return fitted.model.save(tmp_path_factory.mktemp("wide") / "run")


@pytest.mark.parametrize("to", source.TARGETS)
def test_a_sound_model_is_sound_in_every_form(to, wide, tmp_path, few):
    source.write(source.read(wide), tmp_path / f"m.{to[:4]}", to, "float16")
    found = examine(tmp_path / f"m.{to[:4]}")
    assert found.sound and found.heard.predicts


@pytest.mark.parametrize("linear", ["ternary", "binary", "float", "a48"])
def test_runs_of_all_kinds_are_sound(linear, tmp_path, few):
    fitted = minibitnet.fit("pets", progress=False, d_model=16, n_layers=1, n_heads=2, context=32, steps=80,
                            batch=8, linear=linear, tokenizer="char")
    found = examine(fitted.model.save(tmp_path / "run"))
    assert found.sound and found.heard.text == "pets"
    assert examine(tmp_path / "run" / "last.safetensors").sound


def test_an_untrained_model_predicts_nothing(tmp_path, few):
    fitted = minibitnet.fit("pets", progress=False, d_model=32, n_layers=2, n_heads=2, context=32, steps=1)
    assert faults(fitted.model.save(tmp_path / "run")) == {"predicts nothing"}


# ---- the figures

def test_a_matrix_to_check_with_a_pencil():
    codes = np.zeros((6, 20), np.int8)
    codes[0], codes[1, :10], codes[1, 10:] = 1, -1, 1
    s = looked_at(codes, 0.5)
    assert (s.kind, s.counts) == ("mlp.up_proj", (10, 80, 30)), "padding is not counted"
    assert s.zeros == 80 / 120 and s.balance == 20 / 40
    assert s.constant == 5, "all rows but the second"
    assert s.relative_scale == pytest.approx(0.5 * 20**0.5)
    p = np.array([10, 80, 30]) / 120
    assert s.entropy == pytest.approx(-(p * np.log2(p)).sum())


def test_chance_makes_no_hole(rng):
    for zeros in (1 / 3, 0.6, 0.9):
        p = (1 - zeros) / 2, zeros, (1 - zeros) / 2
        s = looked_at(rng.choice(np.array([-1, 0, 1], np.int8), (512, 384), p=p))
        assert not s.hole and not s.constant


def test_a_unigram_table_to_check_with_a_pencil():
    """Two tokens, three times and once: 2 - 3/4 log2(3) bits."""
    assert readings.unigram([np.array([9, 1, 1, 2, 1])]) == pytest.approx((2 - 0.75 * np.log2(3)) * np.log(2))


def test_only_what_is_clear_counts(rng):
    noise = rng.standard_normal(1000)
    assert not readings.clearly(noise - noise.mean()) and not readings.clearly(noise - noise.mean() + 0.08)
    assert readings.clearly(noise - noise.mean() + 0.3) and readings.clearly(np.array([np.inf, 1]))


# ---- the command

def test_the_command_says_all(storyteller, few, capsys, tmp_path):
    assert inspect.main([str(storyteller), "--plot", str(tmp_path / "zeros.png")]) == 0
    said = capsys.readouterr().out
    assert said.endswith("\nsound\n") and "storyteller, trained" in said and "scale convention" in said
    assert (tmp_path / "zeros.png").read_bytes().startswith(b"\x89PNG")
    with planted(storyteller, SHOWN["zeros alone"][1]):
        assert inspect.main([str(storyteller), "--no-run", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["sound"] and [f["fault"] for f in found["findings"]] == ["zeros alone"]
    assert len(found["matrices"]) == 28 and found["matrices"][5]["zeros"] == 1


def test_a_file_by_itself_is_looked_at(storyteller, tmp_path, capsys):
    file = tmp_path / "weights.safetensors"
    file.write_bytes((storyteller / "model.safetensors").read_bytes())
    assert inspect.main([str(file)]) == 0
    assert "config.json is not beside it" in capsys.readouterr().out
    file.write_bytes(file.read_bytes()[:-3])
    assert inspect.main([str(file)]) == 1
    assert "NOT SOUND: damaged file" in capsys.readouterr().out
    assert examine(storyteller / "model.safetensors", run=False).kind == "directory of Hugging Face"


def test_a_configuration_that_cannot_be_read_is_damage(storyteller):
    with planted(storyteller, lambda p: p.instead("config.json", b'{"model_type": "bit')):
        assert faults(storyteller) == {"damaged file"}


def test_the_file_that_is_named_is_looked_at(storyteller, tmp_path):
    """And not the one that its directory is made of."""
    other = storyteller / "other.safetensors"
    other.write_bytes((storyteller / "model.safetensors").read_bytes()[:5000])
    assert faults(other) == {"damaged file"}
    other.unlink()
    (tmp_path / "model.safetensors").write_bytes((storyteller / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match="has no config.json: expected it beside model.safetensors"):
        examine(tmp_path)
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="config.json has no model_type: expected bitnet or llama"):
        examine(tmp_path)
    with pytest.raises(UserError, match="null: expected a run, a directory of Hugging Face"):
        examine("/dev/null")


@pytest.mark.parametrize("change, words", [
    (lambda a: a | {UP: np.full((16, 8), np.nan, np.float32)}, "values that are not finite"),
    (lambda a: a | {UP: np.full((16, 8), 3e38, np.float32)}, "or too large to add up"),
    (lambda a: a | {UP: np.ones(16, np.float32)}, r"is F32 \(16,\): expected a matrix"),
    (lambda a: a | {UP: np.ones((0, 8), np.float32)}, r"is F32 \(0, 8\): expected a matrix"),
    (lambda a: a | {UP: np.ones((16, 8), np.int64)}, r"is I64 \(16, 8\): expected a matrix"),
    (lambda a: a | {UP: a[UP] | 3}, "holds bits 11"),
    (lambda a: a | {f"{UP}_scale": np.zeros(0, np.float32)}, "expected one float"),
    (lambda a: a | {f"{UP}_scale": np.zeros(1, np.float32)}, "_scale means 0"),
    (lambda a: a | {"norm.weight": np.full(8, np.inf, np.float32)}, "norm.weight' holds values that are")])
def test_what_is_wrong_in_a_file_by_itself_is_named(change, words, tmp_path, rng):
    codes = rng.integers(-1, 2, (16, 8)).astype(np.int8)
    arrays = {UP: pack_ternary(codes), f"{UP}_scale": np.ones(1, np.float32),
              "fc.bias": np.zeros(8, np.float32), "step": np.array(3.0, np.float32)}
    safetensors.save(tmp_path / "w.safetensors", arrays, {})
    assert examine(tmp_path / "w.safetensors").sound
    safetensors.save(tmp_path / "w.safetensors", change(arrays), {})
    [finding] = examine(tmp_path / "w.safetensors").findings
    assert finding.fault == "damaged file" and re.search(words, finding.said)
    safetensors.save(tmp_path / "w.safetensors", {"fc.bias": arrays["fc.bias"]}, {})
    with pytest.raises(UserError, match="holds no projection"):
        examine(tmp_path / "w.safetensors")


def test_an_early_run_that_does_not_say_its_text_s_sha256_is_heard(tmp_path, few):
    fitted = minibitnet.fit("pets", progress=False, d_model=16, n_layers=1, n_heads=2, context=32, steps=3,
                            tokenizer="byte")
    fitted.model.settings["corpus"].pop("sha256")
    read = source.read(fitted.model.save(tmp_path / "run"))._replace(settings=fitted.model.settings)
    assert readings.hear(lambda: read._replace(matrices=dict(read.matrices)), "pets")[0].text


def test_a_reading_that_hardly_helps_is_no_fault():
    """Of a text that a model does not know: a little better than the table in another way is chance."""
    as_read, other = np.full(2000, 3.7), {"rotary base": np.full(2000, 3.66)}
    heard = readings.Heard("stories", 2000, 3.7, 3.72, {"rotary base": 3.66})
    assert readings.better(heard, as_read, other) is None
    heard = heard._replace(unigram=4.5)
    assert readings.better(heard, as_read, other).fault == "rotary base"


def test_a_few_tokens_are_nothing_to_judge_by(storyteller, tmp_path):
    """A table of so few knows them all."""
    (tmp_path / "a.txt").write_text("Once upon a time.\n", encoding="utf-8")
    with pytest.raises(UserError, match="a.txt has [0-9]+ tokens for this model: expected at least 128"):
        examine(storyteller, data=str(tmp_path / "a.txt"))


def test_scales_a_thousand_times_are_at_least_noted(storyteller, few):
    def larger(p):
        for name in p.names():
            p.write(f"{name}_scale", lambda scale: 1000 * scale)
    with planted(storyteller, larger):
        found = examine(storyteller)
        assert found.has("scale convention") or any("times 1 / sqrt(inputs)" in note for note in found.notes)


def test_a_pattern_that_fails_is_the_tokenizers_fault(trained, tmp_path):
    folder = trained.save_pretrained(tmp_path / "m")
    file = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    text = json.dumps(file)
    pattern = json.dumps(file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"])
    (folder / "tokenizer.json").write_text(text.replace(pattern, '"(a*)*b"'), encoding="utf-8")
    assert faults(folder, run=False) == {"tokenizer"}


def test_a_model_of_a_text_that_is_gone_is_not_judged(tmp_path, few, monkeypatch):
    """Of other texts it knows nothing, and that is no fault of its."""
    text = tmp_path / "own.txt"
    text.write_text("zyx wvu tsr qpo nml kji hgf edc ba\n" * 200, encoding="utf-8")
    fitted = minibitnet.fit(text, progress=False, d_model=16, n_layers=1, n_heads=2, context=32, steps=60,
                            batch=8, tokenizer="byte")
    run = fitted.model.save(tmp_path / "run")
    assert examine(run).sound and examine(run).heard.text == str(text)
    moved = text.rename(tmp_path / "moved.txt")
    found = examine(run)
    assert found.sound and "--data TEXT" in found.notes[-1]
    text.write_text("another text under this name, of other words altogether\n" * 200, encoding="utf-8")
    found = examine(run)
    assert found.sound and "--data TEXT" in found.notes[-1], "it is not the model's own"
    assert examine(run, data=str(moved)).heard.predicts
    folder = fitted.model.save_pretrained(tmp_path / "hf")
    assert faults(folder) == {"predicts nothing"}, "a directory does not say which text it is of"
    assert faults(folder, data=str(moved)) == set()


def test_a_picture_that_cannot_be_drawn_is_refused_first(storyteller, capsys):
    with pytest.raises(SystemExit) as ended:
        inspect.main([str(storyteller), "--plot", "zeros.badext"])
    assert ended.value.code == 2 and "ends in .png, .svg or .pdf" in capsys.readouterr().err


def test_a_tokenizer_with_fewer_tokens_is_noted(storyteller):
    def fewer(p):
        p.edit("config.json", lambda c: c)
        p.edit("tokenizer.json", set_to([], "added_tokens"))
    with planted(storyteller, fewer):
        assert any("the last 1 of 512 token ids stand for nothing" in note
                   for note in examine(storyteller, run=False).notes)


def test_what_is_no_model_is_a_mistake(tmp_path):
    (tmp_path / "text.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    for name in ("text.txt", "empty", "nothing", "nothing.safetensors"):
        path = tmp_path / name
        with pytest.raises(UserError):
            examine(path)
    with pytest.raises(SystemExit) as ended:
        inspect.main(["storyteller", "--no-run", "--data", "stories"])
    assert ended.value.code == 2


def test_a_model_of_no_known_text_is_not_run(tmp_path):
    fitted = minibitnet.fit("äöü ß\n" * 400, progress=False, d_model=16, n_layers=1, n_heads=2, context=16,
                            steps=2, tokenizer="char")
    found = examine(fitted.model.save(tmp_path / "run"))
    assert found.heard is None and "--data" in found.notes[-1]
    Path(tmp_path / "text.txt").write_text("äöü ß\n" * 40, encoding="utf-8")
    assert examine(tmp_path / "run", data=str(tmp_path / "text.txt")).heard.text.endswith("text.txt")


def test_the_record_of_a_larger_trained_model_and_of_a_very_large_random_one():
    """20 faults at least in each, and ten sound ones."""
    path = Path(__file__).parents[2] / "data/results/inspect.json"
    result = json.loads(path.read_text(encoding="utf-8"))["result"]
    for which in ("trained", "random"):
        assert len(result[which]) >= 20 and all(found["named"] for found in result[which].values())
    assert result["trained"].keys() == SHOWN.keys() | HEARD.keys()
    assert len(result["sound"]) >= 10 and all(found["sound"] for found in result["sound"].values())
    assert result["parameters"]["trained"] > 1.8e6 and result["parameters"]["random"] > 2.4e9
    assert result["noise"]["faults"] == ["predicts nothing"]
