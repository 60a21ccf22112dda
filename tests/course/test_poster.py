"""The poster: numbers that the library computes, letters that can be read, a file that is what is drawn."""
import itertools
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from minibitnet import quant
from minibitnet.course import poster, poster_numbers
from minibitnet.data_files import packaged
from minibitnet.errors import UserError
from minibitnet.experiments import pages
from minibitnet.inference import kernels

pytest.importorskip("matplotlib")
FILE = Path(__file__).parents[2] / "data/results/poster.svg"


def is_there(name):
    """Is this file of data/ there?"""
    try:
        return bool(packaged(name))
    except UserError:
        return False


MISSING = [name for name in ("storyteller/config.json", "storyteller/metrics.jsonl") if not is_there(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"data/ has no {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def figure():
    drawn = poster.draw_poster()
    drawn.canvas.draw()
    return drawn


@pytest.fixture(scope="module")
def texts(figure):
    """Every text that is seen: of the poster, and at the axes of the loss."""
    found = [text for axes in figure.axes for text in axes.texts]
    found += [label for axes in figure.axes if axes.axison
              for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
    return [text for text in found if text.get_text()]


@pytest.fixture(scope="module")
def svg(tmp_path_factory):
    path = tmp_path_factory.mktemp("poster") / "poster.svg"
    assert poster.save(path)
    return path.read_bytes()


def words(svg):
    """The texts of an SVG, in order, with the description."""
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()).strip() for element in root.iter()
            if element.tag.rpartition("}")[2] in ("title", "desc", "text")]


# ---- the numbers

def test_the_four_sums_stand_in_the_first_lane_and_in_the_last(texts):
    seen = [text.get_text() for text in texts]
    for number in ("−28", "111", "−83", "226"):
        assert seen.count(number) == 2
    bytes_ = [text for text in seen if text.startswith("byte ")]
    assert bytes_ == ["byte 146", "byte 36", "byte 73", "byte 152"]


def test_every_bit_of_the_bytes_is_there_in_the_colour_of_its_code(figure, texts):
    """Eight digits a byte, in two colours of three codes: pairs 10 01 00 10 of column 0 are +1, 0, -1, +1."""
    digits = [text for text in texts if text.get_text() in "01" and text.get_position()[1] == 452 + 19]
    assert "".join(text.get_text() for text in digits) == "10010010" "00100100" "01001001" "10011000"
    assert [text.get_color() == "white" for text in digits[:8]] == [True] * 2 + [False] * 2 + [True] * 4


def changed_mean(w, quantize=quant.absmean_ternary):
    codes, scale = quantize(w)
    return quant.Quantized(codes, scale * np.float32(1.01))


def changed_codes(w, quantize=quant.absmean_ternary):
    codes, scale = quantize(w)
    return quant.Quantized(-codes, scale)


@pytest.mark.parametrize("module, name, changed", [
    (poster_numbers, "absmean_ternary", changed_mean),
    (poster_numbers, "absmean_ternary", changed_codes),
    (quant, "absmean_ternary", changed_codes),               # the one of training alone
    (poster_numbers, "absmax_int8", lambda x: quant.absmax_int8(x, Q_b=7)),
    (poster_numbers, "pack_ternary", lambda codes: codes.reshape(1, 16)[:, :4].astype(np.uint8)),
    (kernels, "by_bit_planes", lambda codes, w, bits: kernels.by_blas(codes, w) + 1),
    (kernels, "by_lookup", lambda codes, w: kernels.by_blas(codes, kernels.bit_planes(np.eye(4)))),
    (poster_numbers, "backward", lambda tape, y, g: dict.fromkeys(range(10**6), np.zeros((4, 4)))),
], ids=["another scale", "other codes", "other codes in training", "four bits", "another layout",
        "a wrong sum", "another kernel's sum", "no gradient"])
def test_a_changed_quantizer_layout_or_kernel_ends_the_drawing(module, name, changed, monkeypatch):
    poster_numbers.toy()
    monkeypatch.setattr(module, name, changed)
    with pytest.raises(AssertionError):
        poster_numbers.toy()


def test_what_the_storyteller_says_is_computed(texts):
    """Its chances add up to 1 at most, and so do the language's; where it is sure, so is the language."""
    told, seen = poster_numbers.told(), {text.get_text() for text in texts}
    assert 0.9 < sum(token.chance for token in told.logits) <= 1
    assert 0 < sum(token.truth for token in told.logits) < 1 + 1e-9
    logits = [token.logit for token in told.logits]
    assert logits == sorted(logits, reverse=True) and {f"{logit:,}" for logit in logits} <= seen
    assert {str(number) for _, number in told.tokens} <= seen
    assert "".join(text for text, _ in told.tokens) == told.story[:len("".join(t for t, _ in told.tokens))]
    assert told.same <= told.places and told.same > 0.9 * told.places
    assert any(f"{told.same:,} of {told.places:,} places" in text for text in seen)


def test_the_packed_engine_gives_the_logits_of_the_float_engine():
    assert poster_numbers.packed_is_float()


# ---- to be read

def test_no_text_lies_on_another(texts):
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    assert [(a, b) for (a, p), (b, q) in itertools.combinations(boxes, 2) if p.overlaps(q)] == []


def test_no_text_leaves_the_canvas(figure, texts):
    assert figure.get_size_inches().tolist() == [16, 10]
    for text in texts:
        box = text.get_window_extent()
        assert (box.min >= 8).all() and (box.max <= figure.bbox.max - 8).all(), text.get_text()


def test_texts_that_would_overlap_or_leave_are_seen(figure):
    """The two tests above can fail."""
    axes = figure.axes[0]
    planted = [axes.text(x, 500, "planted") for x in (300, 320, 1590)]
    first, second, last = (text.get_window_extent() for text in planted)
    for text in planted:
        text.remove()
    assert first.overlaps(second) and not first.overlaps(last) and last.max[0] > figure.bbox.max[0]


def test_the_smallest_letters_can_be_read_at_800_pixels(texts):
    """12.5 points of a picture of 1,152 are 8.7 pixels there."""
    assert min(text.get_fontsize() for text in texts) * 800 / 1152 >= 8.5


def test_no_code_is_told_by_its_colour_alone(figure, texts):
    """Of the 16 codes of the matrix and the three of the legend each has its sign, and in grey no two are
    nearer to each other than a seventh of the way from black to white."""
    signs = [text.get_text() for text in texts]
    codes = poster_numbers.toy().weights.codes
    assert signs.count("+1") == (codes == 1).sum() + 1 and signs.count("−1") == (codes == -1).sum() + 1
    image = figure.axes[0].imshow([[0]], **poster.CODES)
    greys = image.to_rgba(np.array([-1.0, 0, 1]))[:, :3] @ (0.299, 0.587, 0.114)
    image.remove()
    assert min(abs(a - b) for a, b in itertools.combinations(greys, 2)) > 1 / 7


# ---- the file

def test_it_is_small_text_is_text_and_it_is_told_to_who_does_not_see_it(svg):
    assert len(svg) <= 100_000
    title, told, *rest = words(svg)
    assert title == "One matrix, three lives" and len(rest) > 200
    assert told.startswith("A 4 by 4 weight matrix in three lanes.") and told.endswith("the same four sums.")
    assert "−28, 111, −83, 226" in told and "146, 36, 73, 152" in told
    assert b"font-family: 'DejaVu Sans', Verdana, sans-serif" in svg
    assert svg.count(b"<?xml") == 1 and b"<image" not in svg and b"<script" not in svg


def test_it_is_the_same_file_at_every_call(svg, tmp_path):
    assert poster.save(tmp_path / "again.svg") and (tmp_path / "again.svg").read_bytes() == svg
    assert not re.search(rb"\d{4}-\d\d-\d\d|matplotlib.org", svg), "no date, no version"


def test_without_matplotlib_it_is_not_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert poster.save(tmp_path / "p.svg") is False and list(tmp_path.iterdir()) == []


def test_the_command_for_pages_makes_it():
    assert pages.PICTURES["poster.svg"] is poster.save


@pytest.mark.skipif(not FILE.exists(), reason="poster.svg is not there: reproduce pages makes it")
def test_the_file_is_what_is_drawn(svg):
    """Its words, for another matplotlib may write a curve in other digits."""
    assert words(FILE.read_bytes()) == words(svg)
