"""What a notebook begins with, and how it shows the library's own source."""
import importlib.util
import inspect
import platform
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import threadpoolctl

from ..data_files import packaged
from ..errors import UserError, brief
from ..threads import available_cpus

ROOT = Path(__file__).parent.parent.parent


class Source:
    """The source of functions and classes, as a notebook shows it."""

    def __init__(self, things):
        self.parts = [(file_of(thing), textwrap.dedent(inspect.getsource(thing)).rstrip())
                      for thing in things]

    def __repr__(self):
        return "\n\n".join(f"# {file}\n{source}" for file, source in self.parts)

    def _repr_markdown_(self):
        return "\n\n".join(f"`{file}`\n```python\n{source}\n```" for file, source in self.parts)


def show(*things: Any) -> Source:
    """The source of functions, methods, classes or modules of this library, with the file that it is in."""
    things = [inspect.unwrap(thing) if callable(thing) else thing for thing in things]
    for thing in things:
        if not (inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing)):
            raise UserError(f"{brief(thing)}: expected a function, a class or a module of this library")
    try:
        return Source(things)
    except (TypeError, OSError):                 # it is written in C, or was typed in a notebook
        raise UserError(f"{', '.join(map(brief, things))}: there is no file with its source") from None


def file_of(thing):
    """minibitnet/quant.py"""
    path = Path(inspect.getsourcefile(thing))
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def check_env() -> None:
    """Print, in a line, what a notebook runs on; and in another what is missing and how to get it."""
    from .. import __version__
    pools, cpus = threadpoolctl.threadpool_info(), available_cpus()
    kernels = ", ".join(sorted({pool["architecture"] for pool in pools if "architecture" in pool}))
    found = [f"minibitnet {__version__}", f"Python {platform.python_version()}", f"NumPy {np.__version__}",
             f"BLAS kernel {kernels or 'unknown'}", f"{cpus} processor{'s' if cpus > 1 else ''}"]
    missing = []
    for what, there, how in (
            ("matplotlib", importlib.util.find_spec("matplotlib"),
             "is missing: python -m pip install matplotlib"),
            ("the stories", data_is_there(),
             "are missing: install minibitnet again, from a checkout with data/")):
        found += [what] * bool(there)
        missing += [f"{what} {how}"] * (not there)
    print("\n".join([" · ".join(found), *missing]))


def data_is_there():
    """Are the files of data/ where the library looks?"""
    try:
        return packaged("stories.txt")
    except UserError:
        return None
