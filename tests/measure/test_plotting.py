import os

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import pages, trained_page
from minibitnet.measure import plotting
from plans import results as made_up


def test_without_matplotlib_nothing_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert plotting.points({}, "", "", tmp_path / "p.png") is False and not (tmp_path / "p.png").exists()
    with pytest.raises(UserError, match="matplotlib is not installed"):
        plotting.new_figure()


def test_points_stand_at_the_size_that_a_name_says_and_printed_ones_are_open_markers(tmp_path, monkeypatch):
    """On a logarithmic axis: from 3B to 7B, and from 70B, as far as their sizes are apart."""
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: seen.append(self.axes[0]))
    assert plotting.points({"ours": {"350M": (2, 1, 4), "7B": (3, 3, 3)}}, "size", "ratio",
                           tmp_path / "p.png", {"7B": 2.9, "70B": 4})
    [axes] = seen
    assert [label.get_text() for label in axes.get_xticklabels()] == ["350M", "7B", "70B"]
    assert axes.get_xscale() == "log"
    [[line, *_]], printed = axes.containers, axes.lines[-1]
    assert line.get_xydata().tolist() == [[350e6, 2], [7e9, 3]]
    assert printed.get_xydata().tolist() == [[7e9, 2.9], [70e9, 4]]
    assert printed.get_fillstyle() == "none" and printed.get_linestyle() == "None"
    assert printed.zorder > line.zorder and printed.get_label() == "paper"


def test_labels_that_would_touch_stand_on_two_lines():
    """From 3B to 3.9B it is a tenth of the way from 3B to 30B, and a good fortieth from 700M to 70B."""
    assert plotting.apart({"700M": 7e8, "3B": 3e9, "3.9B": 3.9e9, "70B": 7e10}) == \
        ["700M", "3B", "\n3.9B", "70B"]
    assert plotting.apart({"3B": 3e9, "3.9B": 3.9e9, "30B": 3e10}) == ["3B", "3.9B", "30B"]
    assert plotting.apart({"1": 1, "1.01": 1.01, "1.02": 1.02, "9": 9}) == ["1", "\n1.01", "1.02", "9"]
    assert plotting.apart({"3B": 3e9}) == ["3B"]


@pytest.mark.parametrize("name", pages.PICTURES)
def test_nothing_of_a_picture_is_cut_and_no_two_labels_touch(name, tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    if name in trained_page.PICTURES:            # of a whole plan, as it will be
        monkeypatch.setattr(trained_page.runner, "done", made_up)
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: seen.append(self))
    assert pages.PICTURES[name](tmp_path / name)
    [drawn] = seen
    drawn.draw_without_rendering()
    for axes in drawn.axes:
        ticks = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
        assert not any(a.overlaps(b) for a, b in zip(ticks, ticks[1:])), name
        for text in (axes.xaxis.label, axes.yaxis.label, axes.title, *axes.texts):
            box = text.get_window_extent()
            assert box.width < 1 or (box.min >= -1).all() and (box.max <= drawn.bbox.max + 1).all(), \
                text.get_text()
        if " / " in axes.get_ylabel():
            assert axes.get_ylabel().endswith(" (times)")


def test_a_picture_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """Where the disk is full, what was there stays."""
    figure = pytest.importorskip("matplotlib.figure")
    path = tmp_path / "p.png"
    path.write_bytes(b"before")
    series = {"ours": {"3B": 1, "7B": 2}}

    def full(f, *args):
        raise OSError(28, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"cannot write .*p.png: No space left .* bytes needed"):
            plotting.points(series, "model", "tokens", path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
    for suffix, begins in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".PDF", b"%PDF")):
        assert plotting.points(series, "model", "tokens", path.with_suffix(suffix))
        assert path.with_suffix(suffix).read_bytes().startswith(begins)
    assert figure


def test_batches_stand_at_their_number(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: seen.append(self.axes[0]))
    plotting.points({"ours": {1: 2, 64: 3}}, "batch", "tokens/s", tmp_path / "p.png")
    assert [label.get_text() for label in seen[0].get_xticklabels()] == ["1", "64"]
    assert seen[0].get_xticks().tolist() == [1, 64]


def test_stacks_stand_on_each_other(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: seen.extend(self.axes))
    stacks = {"a": {"x": 0.25, "y": 0.75}, "b": {"x": 0.5, "y": 0.5}}
    assert plotting.stacks_and_points(stacks, "share", {"ours": {"3B": 1}}, "size", "ratio",
                                      tmp_path / "s.png")
    assert [(bar.get_y(), bar.get_height()) for bar in seen[0].patches] == [(0, 0.25), (0, 0.5),
                                                                            (0.25, 0.75), (0.5, 0.5)]
    assert [label.get_text() for label in seen[0].get_legend().get_texts()] == ["x", "y"]
    assert seen[1].get_ylabel() == "ratio"


def test_a_flow_has_every_box_and_an_arrow_into_every_box_but_the_first(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: seen.extend(self.axes))
    assert plotting.flow({"(a)": [("x", ""), ("y", "w")], "(b)": [("z", "")]}, tmp_path / "f.png")
    assert [sorted(text.get_text() for text in axes.texts if text.get_text())
            for axes in seen] == [["w", "x", "y"], ["z"]]
    assert [sum(getattr(text, "arrow_patch", None) is not None for text in axes.texts)
            for axes in seen] == [2, 0]


@pytest.mark.parametrize("draw", [lambda path: plotting.points({}, "", "", path),
                                  lambda path: plotting.flow({"": []}, path),
                                  lambda path: plotting.stacks_and_points({}, "", {}, "", "", path)])
def test_without_matplotlib_there_is_no_picture(draw, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    assert draw(tmp_path / "p.png") is False and list(tmp_path.iterdir()) == []


def test_categories_stand_side_by_side_and_none_covers_another(tmp_path, monkeypatch):
    """Two series over two categories: 0.14 apart, around whole numbers."""
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: seen.append(self.axes[0]))
    assert plotting.categories("speed", "tok/s", {"ours": {"S": 10, "M": 5}, "theirs": {"M": 4}},
                               tmp_path / "p.png")
    ours, theirs = seen[0].lines
    assert list(ours.get_xdata()) == pytest.approx([-0.07, 0.93]) and list(ours.get_ydata()) == [10, 5]
    assert list(theirs.get_xdata()) == pytest.approx([1.07])
    assert [tick.get_text() for tick in seen[0].get_xticklabels()] == ["S", "M"]
    assert seen[0].get_yscale() == "log"


def test_two_panels_of_categories_show_every_value_their_mean_and_the_floor(tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, **_: seen.extend(self.axes))
    left, right = ("a", "loss", {"x": [1.0, 2.0], "y": [3.0]}, None), ("b", "ratio", {"z": 1.2}, 1)
    assert plotting.two_categories(left, right, tmp_path / "p.png")
    assert [list(line.get_ydata()) for line in seen[0].lines] == [[1, 2], [3]]
    assert [text.get_text() for text in seen[0].texts] == ["1.500", "3.000"]
    assert [list(line.get_ydata()) for line in seen[1].lines] == [[1.2], [1, 1]]
