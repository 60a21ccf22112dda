import re
import subprocess
import sys
import tomllib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import minibitnet
from minibitnet.api import FloatEngine
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

ROOT = Path(__file__).parent.parent


def test_importing_the_package_loads_no_numpy():
    """Names load on first use, so that a command can set thread counts before NumPy starts."""
    code = "import sys, minibitnet; assert 'numpy' not in sys.modules; minibitnet.absmean_ternary; assert 'numpy' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_loads_and_an_unknown_one_does_not():
    assert minibitnet.__all__ == sorted(minibitnet.__all__) == dir(minibitnet)
    for name in minibitnet.__all__:
        assert getattr(minibitnet, name).__doc__
    assert not hasattr(minibitnet, "absent")


def test_no_public_name_is_a_module():
    """minibitnet.train is the command's module: no function may take its name."""
    assert not set(minibitnet.__all__) & {path.stem for path in Path(minibitnet.__file__).parent.glob("*.py")}


def test_the_model_can_be_used_from_a_script(tmp_path):
    """load gives logits (T, vocab), text, tokenizer and configuration."""
    (tmp_path / "t.txt").write_text("to be or not to be. " * 60)
    subprocess.run([sys.executable, "-m", "minibitnet.train", "--data", "t.txt", "--out", "run", "--d-model", "16", "--n-layers", "1",
                    "--n-heads", "2", "--context", "16", "--batch", "4", "--steps", "4"], cwd=tmp_path, check=True, capture_output=True)
    model = minibitnet.load(tmp_path / "run")
    ids = model.tokenizer.encode("to be")
    assert model.logits(ids).shape == (5, model.config.vocab_size) and model.logits(ids).dtype == "float32"
    assert len(model.generate("to be", 30, temperature=0)) == 30
    for bad in ([], [0, -1], [model.config.vocab_size], [0.5], [[0]], range(17), [1, "a"], [[1, 2], [3]], [None]):
        try:
            model.logits(bad)
        except minibitnet.UserError as e:
            assert re.search("token id", str(e))
        else:
            raise AssertionError(bad)
    for name, bad in (("tokens", 2.5), ("temperature", "a"), ("top_k", 2.5), ("seed", None)):
        with pytest.raises(minibitnet.UserError, match=f"^{name} = {bad!r}: expected a"):
            model.generate("to be", **{name: bad})
    for threads in (0, -1, 1.5):
        with pytest.raises(minibitnet.UserError, match=f"threads = {threads}: expected a count, at least 1"):
            minibitnet.load(tmp_path / "run", engine="packed", threads=threads)


def test_the_float_engine_makes_only_the_logits_that_are_asked_for():
    """50,000 of them for each of 64 tokens are 12.8 MB; those of the last token are 0.2 MB, and the same but for the order of the sums."""
    engine = FloatEngine(Transformer(ModelConfig(vocab_size=50_000, d_model=8, n_layers=1, n_heads=2, context=64)))
    ids = np.arange(64)[None]
    tracemalloc.start()
    try:
        last = engine(ids, engine.new_caches(), last=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last.shape == (50_000, 1, 1) and np.allclose(last, engine(ids)[..., -1:], rtol=1e-5, atol=1e-5) and peak < 4_000_000


def test_the_version_is_said_once():
    assert minibitnet.__version__ in (ROOT / "CHANGELOG.md").read_text()
    assert 'version = "' not in (ROOT / "pyproject.toml").read_text()


def test_the_wheel_has_every_package():
    """The list in pyproject.toml, which setuptools cannot find by itself because of data/, is that of the folders."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "minibitnet").rglob("__init__.py")}
    assert set(packages) == folders | {"minibitnet._data"} and (ROOT / "data/README.md").is_file()


def test_a_script_can_see_what_each_token_costs(tmp_path):
    """Both spellings of a context, with the space at its end or at the beginning of the continuation, give the same likelihood."""
    text = "the dog saw the cat. the cat saw the dog. " * 60
    (tmp_path / "t.txt").write_text(text)
    subprocess.run([sys.executable, "-m", "minibitnet.train", "--data", "t.txt", "--tokenizer", "bpe:264", "--out", "run", "--d-model", "16",
                    "--n-layers", "1", "--n-heads", "2", "--context", "16", "--batch", "4", "--steps", "4"],
                   cwd=tmp_path, check=True, capture_output=True)
    model = minibitnet.load(tmp_path / "run")
    one, other = model.log_likelihoods("the cat saw ", ["the dog"]), model.log_likelihoods("the cat saw", [" the dog"])
    assert one == other and one[0] < 0
    nats, ends = model.along("the cat")
    assert ends[-1] + len(model.tokenizer.decode(model.tokenizer.encode("the cat")[:1])) == 7 and (nats > 0).all()
    assert nats.sum() == -model.log_likelihoods(model.tokenizer.decode(model.tokenizer.encode("the cat")[:1]), ["the cat"[7 - ends[-1]:]])[0]
