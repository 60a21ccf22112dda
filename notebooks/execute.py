"""Run notebooks and keep their outputs:  python notebooks/execute.py [--stamp] [NAME.ipynb ...]

Without names all of them, solutions too. Every cell must run; outputs are stored as the tests compare them
(pytest --nbval). --stamp also writes the measured run time into the first cell, where it says "run time".
"""
import argparse
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


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stamp", action="store_true", help="write the run times")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NAME.ipynb")
    args = parser.parse_args()
    for path in args.notebooks or sorted(HERE.rglob("[0-9]*.ipynb")):
        print(f"{path}: {execute(path, args.stamp):.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
