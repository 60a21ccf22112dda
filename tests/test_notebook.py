"""In a notebook: the whole way in fifteen lines, errors of one line, commands by %run."""
import io
import runpy
import shutil
import subprocess
import sys

import numpy as np
import pytest

import minibitnet
from minibitnet.errors import NonFiniteError, UserError

# Trains on a text of its own, whose entropy is known: one of four words, each time anew.
CELLS = ["""
import math, random
import minibitnet
text = "".join(random.Random(0).choices(["cat ", "dog ", "owl ", "ant "], k=5000))
model, tokenizer, history = minibitnet.fit(text, d_model=32, n_layers=1, n_heads=2, context=32, steps=60)
""", """
minibitnet.draw_loss(history, floor=math.log(4) / 4)
""", """
layer = model.layers()[0]
minibitnet.draw_weights(layer)
""", """
print(layer, layer.codes[:3, :8])
""", """
ids = model.encode("cat dog owl ant ")
minibitnet.draw_attention(model.trace(ids), layer=0, tokens=list("cat dog owl ant "))
""", """
print(model.generate("cat ", 40))
packed, integer = model.pack(), model.pack("integer")
assert (packed.logits(ids) == model.logits(ids)).all()
print(abs(integer.logits(ids) * integer.logit_scale - model.logits(ids)).max())
"""]


def test_the_whole_way_is_fifteen_lines():
    assert sum(len(cell.strip().splitlines()) for cell in CELLS) <= 15


def test_the_lines_run_as_a_script(tmp_path):
    """And say nothing but what they print and a bar; the loss ends near the entropy of the text."""
    pytest.importorskip("matplotlib")
    more = "assert math.log(4) / 4 - 0.02 < history['val_loss'][-1] < math.log(4) / 4 + 0.05"
    done = subprocess.run([sys.executable, "-W", "error", "-c", "".join(CELLS) + more], cwd=tmp_path,
                          capture_output=True, text=True, check=True, encoding="utf-8")
    layer, *codes, sample, apart = done.stdout.replace("> ", ">\n", 1).splitlines()
    assert layer.startswith("<Layer layers.0.self_attn.q_proj: 32 x 32, scale ") and len(codes) == 3
    assert set("".join(codes).replace("-1", "1")) <= set("[ ]01") and float(apart) < 1
    assert len(sample) == 40 and set(sample) <= set("catdogowlant ")
    assert list(tmp_path.iterdir()) == []


def test_the_lines_run_as_a_notebook(tmp_path):
    """Figures are shown as pictures by cells that end in one, whatever the backend."""
    pytest.importorskip("matplotlib"), pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in CELLS])
    client = nbclient.NotebookClient(book, timeout=100, kernel_name="python3",
                                     resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    pictures = [output for cell in book.cells for output in cell.outputs
                if "image/png" in output.get("data", {})]
    assert len(pictures) == 3
    assert all(output["data"]["text/plain"].startswith("<Figure size ") for output in pictures)


# ---- errors

@pytest.mark.parametrize("error", [UserError("d_model = 64.0:\nexpected int"), NonFiniteError("it is nan")])
def test_an_error_of_ours_is_one_line_of_a_notebook(error):
    """What IPython calls in place of printing the stack."""
    [line] = error._render_traceback_()
    assert line == f"{type(error).__name__}: {' '.join(str(error).split())}"


@pytest.fixture
def shell():
    """IPython, as in a terminal or, but for the kernel, in a notebook."""
    interactive = pytest.importorskip("IPython.core.interactiveshell")
    shell = interactive.InteractiveShell.instance()
    yield shell
    interactive.InteractiveShell.clear_instance()


def test_ipython_prints_the_one_line(shell, capsys):
    shell.run_cell("import minibitnet; minibitnet.ModelConfig(d_model=64.0)")
    shown = capsys.readouterr()
    assert (shown.out + shown.err).strip() == "UserError: d_model = 64.0: expected int"
    shell.run_cell("1 / 0")
    assert "Traceback" in capsys.readouterr().out, "other errors are shown as they were"


# ---- commands

class KernelStream(io.StringIO):
    """A notebook's output stream: it has no ``reconfigure``, and no file."""

    def fileno(self):
        raise io.UnsupportedOperation("fileno")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a small model."""
    text = "In the beginning was the word, and the word was ternary.\n" * 40
    fitted = minibitnet.fit(text, progress=False, d_model=16, n_layers=1, n_heads=2, context=16, steps=2)
    return fitted.model.save(tmp_path_factory.mktemp("notebook") / "run")


def test_a_command_runs_in_a_stream_that_cannot_be_reconfigured(run, monkeypatch):
    monkeypatch.delitem(sys.modules, "minibitnet.generate", raising=False)     # or runpy warns of it
    monkeypatch.setattr(sys, "argv", ["generate", "--model", str(run), "--prompt", "the", "--tokens", "5"])
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, KernelStream())
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("minibitnet.generate", run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    assert sys.stdout.getvalue().startswith("the") and len(sys.stdout.getvalue()) == 3 + 5 + 1
    assert "tokens/s" in sys.stderr.getvalue() and "Traceback" not in sys.stderr.getvalue()


def test_percent_run_is_the_command(run, shell, capsys, monkeypatch):
    """Ctrl-C stays the kernel's; a mistake is one line, and the next cell runs."""
    import signal
    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.delitem(sys.modules, "minibitnet.generate", raising=False)
    shell.run_cell(f"%run -m minibitnet.generate -- --model {run} --prompt the --tokens 5")
    assert capsys.readouterr().out.startswith("the")
    shell.run_cell("%run -m minibitnet.generate -- --model nowhere --prompt the")
    shown = capsys.readouterr()
    assert "error: nowhere is not there: expected the directory of a run" in shown.err
    assert not shown.out.strip() and shown.err.count("\n") == 1, "no stack, no warning"
    assert signal.getsignal(signal.SIGINT) is handler
    shell.run_cell("print(6 * 7)")
    assert capsys.readouterr().out == "42\n"


def test_a_run_is_drawn_again(run, tmp_path, capsys, monkeypatch):
    """plot RUN, whole or not at all; with the floor of its last evaluation."""
    pytest.importorskip("matplotlib")
    from minibitnet import drawing, plot
    text = "\n".join(minibitnet.exact.__doc__.splitlines() * 5)
    minibitnet.fit(text, out=tmp_path / "run", progress=False, d_model=16, n_layers=1, n_heads=2, context=16,
                   steps=12, log_every=1, eval_every=5)
    (tmp_path / "run/loss.png").unlink()
    assert plot.main([str(tmp_path / "run")]) == 0
    assert (tmp_path / "run/loss.png").read_bytes().startswith(b"\x89PNG")
    assert plot.main([str(tmp_path / "run"), "--out", str(tmp_path / "a.svg")]) == 0
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert capsys.readouterr().out.splitlines() == [str(tmp_path / "run/loss.png"), str(tmp_path / "a.svg")]
    with pytest.raises(UserError, match="--out a.txt: expected the name of a file that ends in .png"):
        plot.main([str(tmp_path / "run"), "--out", "a.txt"])
    shutil.copytree(run, tmp_path / "bare")
    (tmp_path / "bare/metrics.jsonl").write_text("")
    with pytest.raises(UserError, match="metrics.jsonl has no line"):
        plot.main([str(tmp_path / "bare")])
    floors = []

    def draw(history):
        floors.append(history.floor)
        return drawing.draw_loss(history)
    monkeypatch.setattr(plot, "draw_loss", draw)
    with open(tmp_path / "run/metrics.jsonl", "a") as f:
        f.write('{"step": 13, "tokens": 99, "loss": 2, "val_loss": 2, "floor": 1.5}\n')
        f.write('{"step": 14, "tokens": 100, "loss": 2}\n')
    plot.main([str(tmp_path / "run")])
    assert floors == [1.5]


def test_completion_and_help_find_what_there_is():
    import pydoc
    assert {"ops", "model", "ste"} <= set(dir(minibitnet.nn)) and minibitnet.nn.ops.add
    assert "fit" in dir(minibitnet) and not {"importlib", "Path", "sys"} & set(dir(minibitnet))
    code = "import minibitnet; print(minibitnet.inference.kernels.__name__, *dir(minibitnet.text))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"minibitnet.inference.kernels", "batches", "tokenizer"} <= set(done.stdout.split())
    with pytest.raises(AttributeError, match="did you mean 'layers'"):
        minibitnet.nn.layer  # noqa: B018
    shown = pydoc.plain(pydoc.render_doc(minibitnet))
    assert "fit(" in shown and "register_variant(" in shown
    for name in minibitnet.__all__:
        value = getattr(minibitnet, name)
        assert name == "__version__" or value.__doc__ and not value.__doc__.startswith(f"{name}("), name
    assert np.shape(minibitnet.absmean_ternary(np.ones((2, 2))).scale) == (1, 1)
