"""What the kernel of a notebook finds when tests run it: no network, no progress bars, the same as
everywhere."""
import os
from contextlib import contextmanager
from pathlib import Path

import pytest

OFFLINE = Path(__file__).parent / "offline"          # its sitecustomize.py lets no socket leave this machine


@contextmanager
def environment():
    """Inside this block a kernel that starts finds these variables."""
    before = dict(os.environ)
    os.environ.update(TQDM_DISABLE="1", PYTHONHASHSEED="0", COLUMNS="100",
                      PYTHONPATH=os.pathsep.join(filter(None, [str(OFFLINE), before.get("PYTHONPATH")])))
    os.environ.pop("MPLBACKEND", None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):                      # in which nbval starts the kernel of a notebook
    with environment():
        return (yield)
