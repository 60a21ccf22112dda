"""A hundred mutated files for each reader; ``python tests/interop/mutations.py`` tries 5,000."""
import json
import time
from pathlib import Path

import numpy as np
import pytest
from mutations import MORE, READERS, SECONDS, tried

from minibitnet.errors import UserError


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused_in_one_line(name):
    works, _, _ = tried(name, 100)
    assert works, "some mutations harm nothing"


def test_what_is_refused_otherwise_is_found(monkeypatch):
    """An error of another kind, of two lines, one that takes too much memory, or too long."""
    def error(e):
        raise e

    def busy(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
    for read, message in ((lambda path: error(KeyError("x")), "KeyError: 'x'"),
                          (lambda path: error(UserError("one\ntwo")), "rank file', 0"),
                          (lambda path: np.float32(3e38) * np.float32(9), "RuntimeWarning: overflow"),
                          (lambda path: np.zeros(MORE + 2**20, np.uint8), "bytes beyond twice the file"),
                          (lambda path: busy(0.01), "rank file: 0 s")):
        monkeypatch.setitem(READERS, "rank file", (READERS["rank file"][0], read))
        monkeypatch.setattr("mutations.SECONDS", 0.005 if "0 s" in message else SECONDS)
        with pytest.raises(AssertionError, match=message):
            tried("rank file", 1)


def test_the_record_is_of_every_reader():
    path = Path(__file__).parents[2] / "data/results/mutations.json"
    found = json.loads(path.read_text(encoding="utf-8"))["result"]
    count = found["config"]["count"]
    assert list(found["readers"]) == list(READERS) and count >= 5000
    assert all(r["answered"] > 0.99 * count for name, r in found["readers"].items() if "inspect" in name)
