"""How an exercise of the notebooks is graded: the student's function alone, on cases drawn from a seed, by
what is true of every right answer. No report says what a right answer is.

    def one_scale(w, answer):
        "there is one scale for the whole matrix, and it is above 0"
        codes, scale = answer
        return np.size(scale) == 1 and scale > 0

    def matrices(rng):
        yield (np.float32([[0.75, -0.125], [-1, 0.25]]),)
        yield (rng.standard_normal((5, 7)).astype(np.float32),)

    EXERCISES = {"ternarize": Exercise("w (n, m) float32 -> (codes, scale)", matrices, (one_scale, ...))}

A property is a function of the arguments and the answer whose docstring says what holds. Each needs a wrong
answer that it alone rejects (tests/course): one that nothing fails is no property.
"""
import copy
import ctypes
import inspect
import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from ..errors import brief
from ..exact_functions import Random

SECONDS = 20                     # for all cases together; an endless loop ends there
UNSOLVED = "not solved yet"
NO_ANSWER = "not solved yet: it gives None"


class Exercise(NamedTuple):
    """What a function is asked for, and how one knows."""
    signature: str                                   # what it takes and gives, in a line
    cases: Callable[[Random], Iterable[tuple]]       # the arguments of each call
    properties: tuple[Callable[..., bool], ...]      # of (*arguments, answer), the first broken one is told
    call: Callable[..., Any] = lambda fn, *arguments: fn(*arguments)         # how it is used, if no function


class Report(NamedTuple):
    """How a function did."""
    name: str
    passed: int                  # cases
    of: int
    problem: str                 # the first one, in lines; "" where there is none

    @property
    def right(self) -> bool:
        """Has it passed every case?"""
        return self.passed == self.of

    def __str__(self):
        return f"{'✓' if self.right else '✗'} {self.name} {self.passed}/{self.of}" + self.problem


def graded(name: str, exercise: Exercise, fn: Callable, seed: int = 0) -> Report:
    """Call fn on every case of the exercise -> Report. What fn prints is printed, what it raises is told."""
    cases = list(exercise.cases(Random(seed)))
    if not callable(fn):
        return Report(name, 0, len(cases), f"\n  expected a function, got {brief(fn)}")
    problems = []

    def work():
        with np.errstate(all="ignore"):
            for arguments in cases:
                problems.append(problem_of(exercise, fn, arguments))
    if not in_time(work, SECONDS):
        problems.append("\n  it had not ended after {SECONDS} seconds: does a loop end for this input?"
                        f"{shown_arguments(fn, cases[len(problems)])}".replace("{SECONDS}", str(SECONDS)))
    first = next(filter(None, problems), "")
    if first.startswith(UNSOLVED) and first is problems[0]:
        return Report(name, 0, len(cases), f": {first} ({exercise.signature})")
    if first.startswith(UNSOLVED):
        first = (f"{shown_arguments(fn, cases[problems.index(first)])}\n  came      None\n"
                 "  violated  every input has an answer: is there a path without `return`?")
    return Report(name, problems.count(""), len(cases), first)


def problem_of(exercise, fn, arguments):
    """One case -> what is wrong with fn there, in lines, or ""."""
    given = copy.deepcopy(arguments)
    try:
        answer = exercise.call(fn, *given)
    except NotImplementedError:
        return UNSOLVED
    except Exception as e:
        return f"{shown_arguments(fn, arguments)}\n  raised    {type(e).__name__}: {brief(str(e), 200)[1:-1]}"
    if answer is None or answer is ...:
        return UNSOLVED if answer is ... else NO_ANSWER
    for holds in (unchanged, *exercise.properties):
        try:
            right = (unchanged(arguments, given) if holds is unchanged else
                     holds(*copy.deepcopy(arguments), answer))
        except Exception:                        # an answer of another shape or kind
            right = False
        if not right:
            sentence = " ".join(holds.__doc__.split())
            return f"{shown_arguments(fn, arguments)}\n  came      {shown(answer)}\n  violated  {sentence}"
    return ""


def unchanged(arguments, given):
    """nothing is written into what it is given"""
    return all(same(a, b) for a, b in zip(arguments, given))


class Answers:
    """What a function gives for some inputs that belong together; the first one is shown."""

    def __init__(self, first, *others):
        self.first, self.others = first, others

    def __repr__(self):
        return shown(self.first)

    __str__ = __repr__


def answers(fn, *inputs):
    """Answers of fn to each tuple of arguments; None where the first is."""
    first = fn(*inputs[0])
    return None if first is None else Answers(first, *(fn(*more) for more in inputs[1:]))


def same(a, b):
    """Equal, arrays too; of objects of other kinds nothing is said."""
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b if isinstance(a, int | float | str | bytes) else True


def shown_arguments(fn, arguments):
    """The arguments by the names that fn gives them, in lines."""
    try:
        names = [p for p in inspect.signature(fn).parameters if p != "self"]
    except (TypeError, ValueError):
        names = []
    names += [f"argument {i + 1}" for i in range(len(names), len(arguments))]
    lines = [f"{name} = {shown(value)}" for name, value in zip(names, arguments)]
    return "\n  given     " + "\n            ".join(lines)


def shown(value):
    """A value in a line or a few: of a large array the beginning and the end."""
    if isinstance(value, np.ndarray):
        kind = f"{value.dtype} {value.shape}"
        value = value + 0 if value.dtype.kind == "f" else value              # -0. is 0.
        text = np.array2string(value, precision=5, threshold=40, edgeitems=2, prefix=" " * 16,
                               max_line_width=100)
        return text if value.size <= 40 and value.dtype.kind in "iufb" else f"{text}, {kind}"
    if isinstance(value, tuple) and any(isinstance(part, np.ndarray) for part in value):
        return ",\n            ".join(map(shown, value))
    if isinstance(value, np.generic | Answers):
        return f"{value!s}"
    return getattr(value, "__name__", None) or brief(value, 200)


def in_time(work, seconds):
    """Run work() -> has it ended by itself? After so many seconds a loop of Python's is broken off."""
    thread = threading.Thread(target=quietly, args=(work,), daemon=True)
    thread.start()
    thread.join(seconds)
    if not thread.is_alive():
        return True
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    thread.join(1)
    return False


def quietly(work):
    """work(), whose breaking off is told by nobody else."""
    try:
        work()
    except SystemExit:
        pass
