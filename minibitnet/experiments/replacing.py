"""Changes that last for one run: a row or a function of the library is replaced, and put back."""
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from typing import NamedTuple


@contextmanager
def replaced(holder, name, value):
    """holder[name] or holder.name is value inside this block."""
    table = holder if isinstance(holder, dict) else None
    before = table[name] if table is not None else vars(holder)[name]     # a staticmethod as it is
    put = table.__setitem__ if table is not None else lambda name, value: setattr(holder, name, value)
    put(name, value)
    try:
        yield
    finally:
        put(name, before)


@contextmanager
def added(table, rows):
    """table has these rows, which it has not otherwise, inside this block."""
    table.update(rows)
    try:
        yield
    finally:
        for name in rows:
            del table[name]


@contextmanager
def all_of(*contexts):
    """One context manager of several."""
    if not contexts:
        yield
        return
    with contexts[0], all_of(*contexts[1:]):
        yield


class Change(NamedTuple):
    """What a run changes, in words and as a context manager of it."""
    words: str
    apply: Callable = lambda run: nullcontext()
    remembers: bool = False            # more than a checkpoint has: such a run begins anew
