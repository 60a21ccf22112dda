import inspect
import os
import re
import subprocess
import sys
import tomllib
import tracemalloc
import typing
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minibitnet
from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

ROOT = Path(__file__).parent.parent


def test_importing_the_package_loads_no_numpy():
    """Names load on first use, so that a command can set thread counts before NumPy starts."""
    code = ("import sys, minibitnet; assert 'numpy' not in sys.modules; minibitnet.absmean_ternary; assert "
            "'numpy' in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_loads_and_an_unknown_one_does_not():
    assert minibitnet.__all__ == sorted(minibitnet.__all__)
    assert set(minibitnet.__all__) <= set(dir(minibitnet))
    for name in minibitnet.__all__:
        assert getattr(minibitnet, name).__doc__
    assert not hasattr(minibitnet, "absent")
    with pytest.raises(AttributeError, match="did you mean 'draw_loss'"):
        minibitnet.draw_losses  # noqa: B018


def test_every_module_is_there_after_an_import_of_the_package():
    """Completion offers them, and they need no import of their own."""
    code = "import minibitnet; print(minibitnet.quant.__name__, minibitnet.nn.__name__, *dir(minibitnet))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = done.stdout.split()
    assert names[:2] == ["minibitnet.quant", "minibitnet.nn"]
    assert {"fit", "load", "quant", "exact", "nn", "inference", "train", "__version__"} <= set(names[2:])


def test_the_oldest_versions_are_those_that_were_measured():
    """tiktoken 0.12 takes 11 s for 200,000 spaces and 0.10 loses a <|endoftext|> inside a line; tqdm 4.57 has
    no delay."""
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {"tqdm>=4.60", "tiktoken>=0.13"} <= set(needed)
    assert all(">=" in line for line in needed)


def test_no_public_name_is_a_module():
    """minibitnet.train is the command's module: no function may take its name."""
    assert not set(minibitnet.__all__) & {path.stem for path in Path(minibitnet.__file__).parent.glob("*.py")}


def test_the_model_can_be_used_from_a_script(tmp_path):
    """load gives logits (T, vocab), text, tokenizer and configuration."""
    (tmp_path / "t.txt").write_text("to be or not to be. " * 60)
    subprocess.run([sys.executable, "-m", "minibitnet.train", "--data", "t.txt", "--out", "run",
                    "--d-model", "16", "--n-layers", "1",
                    "--n-heads", "2", "--context", "16", "--batch", "4", "--steps", "4"], cwd=tmp_path,
                   check=True, capture_output=True)
    model = minibitnet.load(tmp_path / "run")
    ids = model.tokenizer.encode("to be")
    assert model.logits(ids).shape == (5, model.config.vocab_size) and model.logits(ids).dtype == "float32"
    assert len(model.generate("to be", 30, temperature=0)) == 30
    for bad in ([], [0, -1], [model.config.vocab_size], [0.5], [[0]], range(17), [1, "a"], [[1, 2], [3]],
                [None]):
        try:
            model.logits(bad)
        except minibitnet.UserError as e:
            assert re.search("token id", str(e))
        else:
            raise AssertionError(bad)
    for name, bad in (("tokens", 2.5), ("temperature", "a"), ("top_k", 2.5), ("seed", -1)):
        with pytest.raises(minibitnet.UserError, match=f"^{name} = {bad!r}: expected a"):
            model.generate("to be", **{name: bad})
    for threads in (0, -1, 1.5):
        with pytest.raises(minibitnet.UserError, match=f"threads = {threads}: expected a count from 1 to"):
            minibitnet.load(tmp_path / "run", engine="packed", threads=threads)


def test_the_float_engine_makes_only_the_logits_that_are_asked_for():
    """50,000 of them for each of 64 tokens are 12.8 MB; those of the last token are 0.2 MB, and the same
    but for the order of the sums."""
    engine = FloatEngine(Transformer(ModelConfig(vocab_size=50_000, d_model=8, n_layers=1, n_heads=2,
                                                 context=64)))
    ids = np.arange(64)[None]
    tracemalloc.start()
    try:
        last = engine(ids, engine.new_caches(), last=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert last.shape == (50_000, 1, 1) and np.allclose(last, engine(ids)[..., -1:], rtol=1e-5, atol=1e-5)
    assert peak < 4_000_000


def test_the_version_is_said_once():
    assert minibitnet.__version__ in (ROOT / "CHANGELOG.md").read_text()
    assert 'version = "' not in (ROOT / "pyproject.toml").read_text()


# ---- what an installation is

def built(hook, folder, monkeypatch):
    """The ZipFile of a wheel, as a build of this checkout makes it."""
    build = pytest.importorskip("hatchling.build")
    if not (ROOT / "pyproject.toml").is_file():
        pytest.skip("not a checkout")
    monkeypatch.chdir(ROOT)
    return zipfile.ZipFile(folder / getattr(build, hook)(str(folder)))


def test_the_wheel_has_every_module_and_the_data(tmp_path, monkeypatch):
    """data/ goes along as minibitnet/_data: the corpus, the papers' numbers, the results."""
    names = set(built("build_wheel", tmp_path, monkeypatch).namelist())
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "minibitnet").rglob("*.py")}
    data = {f"minibitnet/_data/{path.relative_to(ROOT / 'data').as_posix()}"
            for path in (ROOT / "data").rglob("*") if path.is_file()}
    assert modules | data | {"minibitnet/py.typed"} <= names and "minibitnet/_data/stories.txt" in data
    assert all(name.startswith(("minibitnet/", "minibitnet-")) for name in names)


def test_a_checkout_is_found_from_the_folder_that_it_lies_in(tmp_path, monkeypatch):
    """There a checkout called minibitnet comes first on the path, and has no __init__.py: an editable
    installation by a path file is found all the same, one by a finder that is asked after the path is
    not."""
    site, parent = tmp_path / "site", tmp_path / "parent"
    (parent / "minibitnet/minibitnet").mkdir(parents=True)
    built("build_editable", tmp_path, monkeypatch).extractall(site)

    def found(*before):
        code = "\n".join([*before, "import minibitnet; print(minibitnet.__file__)"])
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        run = subprocess.run([sys.executable, "-S", "-c", code], cwd=parent, env=environment,
                             capture_output=True,
                             text=True, check=True)
        return run.stdout.strip()
    assert found(f"import site; site.addsitedir({str(site)!r})") == minibitnet.__file__
    finder = f"""if True:
        import importlib.machinery, sys
        class Finder:
            def find_spec(name, path=None, target=None):
                if name == "minibitnet":
                    return importlib.machinery.PathFinder.find_spec(name, [{str(ROOT)!r}])
        sys.meta_path.append(Finder)"""
    assert found(finder) == "None", "the test would not see what it is for"


def test_the_console_script_runs_the_command_that_is_named(tmp_path):
    """``minibitnet bench`` is ``python -m minibitnet.bench``, exit code and all; a mistyped name has a
    neighbour."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["minibitnet"].partition(":")
    start = f"import sys; from {module} import {function} as main; sys.exit(main())"

    def run(*words):
        return subprocess.run([sys.executable, "-c", start, *words], capture_output=True, text=True,
                              cwd=tmp_path)
    assert run().returncode == 0 and "python -m minibitnet.train" in run().stdout
    mistyped, refused, listed = run("trian"), run("bench", "kernels", "--shapes", "3x"), run("data", "list")
    assert mistyped.returncode == 2 and "did you mean train?" in mistyped.stderr
    assert refused.returncode == 2 and "3x: expected outputs x inputs" in refused.stderr
    assert listed.returncode == 0 and "stories" in listed.stdout


def test_the_calls_of_a_script_are_annotated():
    """py.typed says that type checkers may believe the package: load, and all public methods of what it
    returns."""
    methods = [f for name, f in vars(LanguageModel).items() if callable(f) and not name.startswith("_")]
    assert (Path(minibitnet.__file__).parent / "py.typed").is_file() and len(methods) >= 8
    for function in [minibitnet.load, LanguageModel.__init__, *methods]:
        hints = typing.get_type_hints(function)
        assert set(inspect.signature(function).parameters) - {"self"} == set(hints) - {"return"}, function
        assert "return" in hints, function


def test_the_citation_has_the_version():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {minibitnet.__version__}\n" in citation
    assert 'name: "The minibitnet developers"' in citation


def test_a_script_can_see_what_each_token_costs(tmp_path):
    """Both spellings of a context, with the space at its end or at the beginning of the continuation, give
    the same likelihood."""
    text = "the dog saw the cat. the cat saw the dog. " * 60
    (tmp_path / "t.txt").write_text(text)
    subprocess.run([sys.executable, "-m", "minibitnet.train", "--data", "t.txt", "--tokenizer", "bpe:264",
                    "--out", "run", "--d-model", "16",
                    "--n-layers", "1", "--n-heads", "2", "--context", "16", "--batch", "4", "--steps", "4"],
                   cwd=tmp_path, check=True, capture_output=True)
    model = minibitnet.load(tmp_path / "run")
    one, other = model.log_likelihoods("the cat saw ", ["the dog"]), model.log_likelihoods("the cat saw",
                                                                                           [" the dog"])
    assert one == other and one[0] < 0
    nats, ends = model.along("the cat")
    assert ends[-1] + len(model.tokenizer.decode(model.tokenizer.encode("the cat")[:1])) == 7
    assert (nats > 0).all()
    assert (nats.sum()
            == -model.log_likelihoods(model.tokenizer.decode(model.tokenizer.encode("the cat")[:1]),
                                      ["the cat"[7 - ends[-1]:]])[0])
