"""check: what a notebook calls below an exercise.   minibitnet.check("ternarize", ternarize)"""
import difflib
from collections.abc import Callable
from typing import Any

from ..errors import UserError
from . import (bitlinear, gradients, integers, map, packing, quantizers, straight_through, training,
               transformer)
from .exercise import Report, graded

SUBJECTS = map, quantizers, gradients, straight_through, bitlinear, transformer, training, packing, integers
EXERCISES = {name: exercise for subject in SUBJECTS for name, exercise in subject.EXERCISES.items()}


def grade(name: str, fn: Callable[..., Any], seed: int = 0) -> Report:
    """A student's function for the exercise of this name -> Report(name, passed, of, problem). The cases are
    drawn from the seed: another one than the notebook's grades what was written to pass those."""
    if name not in EXERCISES:
        near = difflib.get_close_matches(str(name), EXERCISES, 1)
        raise UserError(f"exercise {name!r}: expected one of {', '.join(EXERCISES)}"
                        + (f"; did you mean {near[0]!r}?" if near else ""))
    return graded(name, EXERCISES[name], fn, seed)


def check(name: str, fn: Callable[..., Any], seed: int = 0) -> None:
    """Print how a function does: ``✓ ternarize 7/7``, or ``✗`` with the first input at which it is wrong,
    what came out, and which property of a right answer that violates. It raises nothing, whatever the
    function does."""
    print(grade(name, fn, seed))
