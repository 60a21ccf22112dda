"""Pictures of a notebook: what is drawn is what there is."""
import math

import numpy as np
import pytest

from minibitnet.drawing import (draw_attention, draw_bytes, draw_histogram, draw_loss, draw_weights,
                                save_loss)
from minibitnet.errors import UserError
from minibitnet.fitting import History
from minibitnet.looking import Layer, layers, trace
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.packing import pack_ternary

pytest.importorskip("matplotlib")
LINES = [{"step": i, "tokens": 10**5 * i, "loss": 5 / i, **({"val_loss": 5.5 / i} if i % 2 else {})}
         for i in range(1, 8)]
MODEL = Transformer(ModelConfig(vocab_size=11, d_model=16, n_layers=2, n_heads=2, context=8))


def test_the_loss_is_a_small_png_and_a_notebook_shows_it(tmp_path):
    assert save_loss(History(LINES), tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "loss.png").stat().st_size < 100_000
    assert draw_loss(History(LINES))._repr_png_().startswith(b"\x89PNG")


def test_the_loss_has_steps_evaluations_and_the_floor_over_a_logarithmic_axis():
    [axes] = draw_loss(History(LINES, floor=0.5)).axes
    training, validation, floor = axes.lines
    assert axes.get_xscale() == "log"
    assert list(training.get_xdata()) == pytest.approx([i / 10 for i in range(1, 8)])
    assert list(validation.get_ydata()) == [5.5 / i for i in (1, 3, 5, 7)] and set(floor.get_ydata()) == {0.5}
    assert floor.get_label() == "entropy of the source (0.500): the floor"
    assert len(draw_loss(History(LINES)).axes[0].lines) == 2, "no floor where none is known"


def test_a_matplotlib_that_breaks_ends_no_run(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")

    def broken(*_, **__):
        raise RuntimeError("a font cache of another version")
    monkeypatch.setattr(figure.Figure, "savefig", broken)
    assert save_loss(History(LINES), tmp_path / "loss.png") is False


def test_weights_stand_beside_their_codes():
    layer = layers(MODEL)[0]
    latent, codes, *_ = draw_weights(layer, rows=4, columns=5).axes
    assert np.array_equal(latent.images[0].get_array(), layer.latent[:4, :5])
    assert np.array_equal(codes.images[0].get_array(), layer.codes[:4, :5])


def test_the_histograms_thresholds_are_half_the_scale():
    """absmean rounds w / gamma: from -1 to 0 at -gamma / 2, from 0 to +1 at gamma / 2. Drawn between the two
    weights that are next to it."""
    w = np.linspace(-1, 1, 2001, dtype=np.float32).reshape(1, -1)
    gamma = float(np.abs(w).mean())
    layer = Layer("line", np.clip(np.rint(w / gamma), -1, 1).astype(np.int8), gamma, w)
    [axes] = draw_histogram(layer).axes
    assert [line.get_xdata()[0] for line in axes.lines] == pytest.approx([-gamma / 2, gamma / 2], abs=1e-3)
    assert [text.get_text() for text in axes.texts] == ["-1\n37%", "0\n25%", "+1\n37%"]


def test_attention_has_a_panel_for_each_head():
    found = trace(MODEL, np.array([3, 1, 4, 1]))
    figure = draw_attention(found, layer=1, tokens=list("abcd"))
    assert len(figure.axes) == 2
    for axes, weights in zip(figure.axes, found["layers.1.self_attn.probabilities"]):
        assert np.array_equal(axes.images[0].get_array(), weights)
    with pytest.raises(UserError, match="layer 2: expected one of the trace's, which has 2"):
        draw_attention(found, layer=2)


def test_bytes_are_those_of_the_packed_file():
    """Fields of two bits from the highest to the lowest; the number beside them is the byte."""
    layer = layers(MODEL)[0]
    packed = pack_ternary(layer.codes.astype(np.float32))[:2, 0]
    [axes] = draw_bytes(layer, count=2).axes
    shown = [text.get_text() for text in axes.texts]
    for byte, row in zip(packed, (shown[:5], shown[5:])):
        assert "".join(field[:2] for field in row[:4]) == f"{byte:08b}" and row[4] == f"= {byte:3d}"
    assert math.isclose(axes.images[0].get_array().max(), 1)
