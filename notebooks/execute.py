"""Run notebooks and keep their outputs:  python notebooks/execute.py [--stamp] [NAME.ipynb ...]

Without names all of them, solutions too. Every cell must run; outputs are stored as the tests compare them
(pytest --nbval). --stamp also writes the measured run time into the first cell, where it says "run time".
At the end of all of them README.md's table is made of the first cells, and pictures/ of the cells with the
tag "picture".
"""
import argparse
import base64
import re
import sys
import time
from pathlib import Path

import nbformat
from conftest import environment
from nbclient import NotebookClient

HERE = Path(__file__).parent
METADATA = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"}}


def execute(path, stamp):
    """Run the notebook at path in a fresh kernel and store it with its outputs -> seconds."""
    book = nbformat.read(path, as_version=4)
    for i, cell in enumerate(book.cells):
        cell.id, cell.metadata = f"cell-{i}", nbformat.from_dict({k: v for k, v in cell.metadata.items()
                                                                 if k == "tags"})
    began = time.perf_counter()
    with environment():
        NotebookClient(book, timeout=120, kernel_name="python3",
                       resources={"metadata": {"path": str(path.parent)}}).execute()
    seconds = time.perf_counter() - began
    book.metadata = nbformat.from_dict(METADATA)             # the kernel's says which Python it was
    for cell in book.cells:
        cell.metadata.pop("execution", None)                 # when each cell ran: another time each time
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    if stamp:
        book.cells[0].source = re.sub(r"run time \d+ s", f"run time {max(1, round(seconds))} s",
                                      book.cells[0].source)
    nbformat.write(book, path)
    return seconds


def joined(outputs):
    """Pieces of one stream that came one after the other, as one: where they are cut depends on the clock."""
    kept = []
    for output in outputs:
        if output.output_type == "stream" and kept and kept[-1].get("name") == output.name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def first_cell(path):
    """What a notebook's first cell says: title, question, minutes of reading, of exercises, seconds."""
    text = nbformat.read(path, as_version=4).cells[0].source
    patterns = (r"# \d\d · (.+)", r"\*\*The question\.\*\* \*(.+)\*", r"reading (\d+) min",
                r"exercises (\d+) min", r"run time (\d+) s")
    return [re.search(pattern, text)[1] for pattern in patterns]


def picture(path):
    """The png of a notebook's cell with the tag "picture"."""
    book = nbformat.read(path, as_version=4)
    [cell] = [cell for cell in book.cells if "picture" in cell.metadata.get("tags", ())]
    return base64.b64decode(cell.outputs[-1].data["image/png"])


def row(path):
    """A notebook's line of README.md."""
    title, question, reading, exercises, seconds = first_cell(path)
    number = path.stem[:2]
    image = f'<img src="pictures/{path.stem}.png" width="220" alt="A picture of notebook {number}">'
    return (f"| [{number} · {title}]({path.name}) | {question} | {reading} min | {exercises} min "
            f"| {seconds} s | {image} |")


def index():
    """README.md's table and pictures/."""
    books, page = sorted(HERE.glob("[0-9]*.ipynb")), HERE / "README.md"
    text = re.sub(r"(\|---\|.*\n)(\| \[.*\n)*", lambda m: m[1] + "".join(f"{row(path)}\n" for path in books),
                  page.read_text(encoding="utf-8"), count=1)
    page.write_text(text, encoding="utf-8")
    (HERE / "pictures").mkdir(exist_ok=True)
    for path in books:
        (HERE / f"pictures/{path.stem}.png").write_bytes(picture(path))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamp", action="store_true", help="write the run times")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NAME.ipynb")
    args = parser.parse_args()
    for path in args.notebooks or sorted(HERE.rglob("[0-9]*.ipynb")):
        print(f"{path}: {execute(path, args.stamp):.1f} s", flush=True)
    if not args.notebooks:
        index()


if __name__ == "__main__":
    sys.exit(main())
