"""The published solutions, from their one home: the notebooks of notebooks/solutions."""
import ast
import json
from functools import cache
from pathlib import Path

SOLUTIONS = Path(__file__).parents[2] / "notebooks/solutions"


@cache
def namespace(stem):
    """Every import, constant, function and class that the cells of a solution notebook define."""
    book = json.loads((SOLUTIONS / f"{stem}.ipynb").read_text(encoding="utf-8"))
    source = "\n".join("".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code")
    kept = ast.Module([node for node in ast.parse(source).body if not isinstance(node, ast.Expr)], [])
    names = {}
    exec(compile(kept, stem, "exec"), names)
    return names


def solution(stem, name):
    """The function (or class) of a solution notebook: solution("01_quantizers", "ternarize")."""
    return namespace(stem)[name]
