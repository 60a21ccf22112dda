"""The notebooks as they lie there: whole, in one form, graded, linked. (pytest --nbval runs them and compares
every output.)"""
import ast
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import minibitnet
from minibitnet.course.grading import EXERCISES

FOLDER = Path(__file__).parents[2] / "notebooks"
BOOKS = sorted(FOLDER.glob("[0-9]*.ipynb"))
SOLUTIONS = sorted((FOLDER / "solutions").glob("[0-9]*.ipynb"))
# Cells whose output is of this machine or of this hour: the line of check_env() everywhere, and these
UNCOMPARED = {"07_packing": [40]}         # what zlib's version gives


def cells(path, kind=None):
    book = json.loads(path.read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if kind in (None, cell["cell_type"])]


def source(cell):
    return "".join(cell["source"])


def outputs(cell):
    """What a cell shows, as text."""
    for output in cell["outputs"]:
        yield "".join(output.get("text", [])) or "".join(output.get("data", {}).get("text/plain", []))


def asked(path):
    """The names that a notebook's cells check."""
    code = "\n".join(source(cell) for cell in cells(path, "code"))
    return re.findall(r'^check\("(\w+)"', code, re.M)


@pytest.fixture(params=BOOKS, ids=lambda path: path.stem)
def book(request):
    return request.param


@pytest.fixture(params=[*BOOKS, *SOLUTIONS], ids=lambda path: f"{path.parent.stem}-{path.stem}")
def any_book(request):
    return request.param


def test_there_are_nine_and_each_has_its_solutions():
    assert [path.stem[:2] for path in BOOKS] == [f"{i:02}" for i in range(9)]
    assert [path.name for path in BOOKS] == [path.name for path in SOLUTIONS]


def test_every_cell_was_run_in_order_and_none_failed(any_book):
    """A cell without its number is never compared."""
    code = cells(any_book, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    assert not [output for cell in code for output in cell["outputs"] if output.get("name") == "stderr"]


def test_it_is_stored_as_the_script_stores_it(any_book):
    book = json.loads(any_book.read_text(encoding="utf-8"))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert book["metadata"] == {"kernelspec": kernel, "language_info": {"name": "python"}}
    assert [cell["id"] for cell in book["cells"]] == [f"cell-{i}" for i in range(len(book["cells"]))]
    assert all(set(cell["metadata"]) <= {"tags"} for cell in book["cells"])
    assert any_book.stat().st_size < 2e6


def test_few_cells_are_not_compared(any_book):
    tags = [cell["metadata"].get("tags", []) for cell in cells(any_book)]
    tagged = [i for i, found in enumerate(tags) if "nbval-ignore-output" in found]
    assert {tag for found in tags for tag in found} <= {"nbval-ignore-output", "picture"}
    env = [i for i, cell in enumerate(cells(any_book)) if "check_env()" in source(cell)]
    assert tagged == sorted(env + UNCOMPARED.get(any_book.stem, []) * (any_book in BOOKS))


def test_it_begins_and_ends_as_all_do(book):
    first, last = cells(book)[0], cells(book)[-1]
    assert re.match(rf"# {book.stem[:2]} · \S", source(first))
    for word in ("**The question.**", "*You will be able to*", "**Before this**", "**Time**"):
        assert word in source(first), word
    assert 1 <= int(re.search(r"run time (\d+) s on two cores", source(first))[1]) <= 60
    ending = "\n".join(source(cell) for cell in cells(book)[-4:])
    for word in ("Key points", "Open questions", "Roads not taken", "Next"):
        assert word in ending, word
    assert last["cell_type"] == "markdown"
    assert "check_env()" in source(cells(book)[1])


def test_prose_leads(book):
    prose, code = len(cells(book, "markdown")), len(cells(book, "code"))
    assert prose >= 0.6 * code
    assert sum(bool(re.search(r"^\s*assert ", source(cell), re.M)) for cell in cells(book, "code")) >= 5
    assert "**Predict**" in "\n".join(map(source, cells(book, "markdown")))


def test_pictures_are_small_and_there_are_some(book):
    pictures = [output["data"]["image/png"] for cell in cells(book, "code") for output in cell["outputs"]
                if "image/png" in output.get("data", {})]
    assert len(pictures) >= 3
    assert all(len(base64.b64decode("".join(picture))) <= 100_000 for picture in pictures)


def test_no_code_is_shown_as_minus_zero(any_book):
    shown = "\n".join(text for cell in cells(any_book, "code") for text in outputs(cell))
    assert not re.search(r"-0\.(?!\d)", shown)


def test_links_lead_somewhere(any_book):
    for cell in cells(any_book, "markdown"):
        for target in re.findall(r"\]\(([^)]+)\)", source(cell)):
            if not target.startswith(("https://arxiv.org/", "https://", "#")):
                assert (any_book.parent / target.partition("#")[0]).exists(), target


def test_nothing_of_the_library_is_written_again(book):
    """But in exercises, and where it is wrong or naive on purpose."""
    ours = {*minibitnet.__all__} - {"check", "show"}
    defined = {node.name for cell in cells(book, "code") for node in ast.walk(ast.parse(source(cell)))
               if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert not {name for name in defined & ours if not name.startswith(("wrong_", "naive_"))}


# ---- exercises

def test_an_unsolved_exercise_is_not_solved_yet_and_says_what_it_takes(book):
    names = asked(book)
    assert 2 <= len(names) <= 6 and len(set(names)) == len(names)
    said = "\n".join(text for cell in cells(book, "code") for text in outputs(cell))
    for name in names:
        assert re.search(rf"^✗ {name} 0/\d+: not solved yet(: it gives None)? \(.+\)$", said, re.M), name
    assert "✓" not in said


def test_an_exercise_has_the_name_of_its_function(any_book):
    """Whoever marks finds the function by the exercise's name."""
    for cell in cells(any_book, "code"):
        for name, fn in re.findall(r'\bcheck\("(\w+)", (\w+)\)', source(cell)):
            assert name == fn


def test_a_solved_exercise_is_right(book):
    """The same exercises, each with a solution, and every check says so."""
    path = FOLDER / "solutions" / book.name
    assert asked(path) == asked(book)
    said = "\n".join(text for cell in cells(path, "code") for text in outputs(cell))
    assert re.findall(r"^✓ (\w+) ", said, re.M) == asked(book) and "✗" not in said


def test_every_exercise_is_in_a_notebook():
    assert sorted(EXERCISES) == sorted(name for path in BOOKS for name in asked(path))


def test_there_is_no_network_for_a_notebook():
    code = ("import socket, pytest\n"
            "with pytest.raises(OSError, match='no network for notebooks'):\n"
            "    socket.create_connection(('192.0.2.1', 80), timeout=1)\n")
    offline = {**os.environ, "PYTHONPATH": str(FOLDER / "offline")}
    subprocess.run([sys.executable, "-c", code], check=True, env=offline)


def test_the_table_and_the_pictures_are_the_notebooks_own():
    """Made by notebooks/execute.py of the first cells."""
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    for path in BOOKS:
        first = source(cells(path)[0])
        [row] = [line for line in page.splitlines() if f"]({path.name})" in line]
        for pattern in (r"# (\d\d · .+)", r"The question\.\*\* \*(.+)\*", r"reading (\d+ min)",
                        r"exercises (\d+ min)", r"run time (\d+ s)"):
            assert re.search(pattern, first)[1] in row
        [shown] = [cell for cell in cells(path, "code") if "picture" in cell["metadata"].get("tags", ())]
        stored = base64.b64decode("".join(shown["outputs"][-1]["data"]["image/png"]))
        assert (FOLDER / f"pictures/{path.stem}.png").read_bytes() == stored
    for target in re.findall(r"\]\(([^)]+)\)", page):
        assert (FOLDER / target).exists(), target
