import os
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet.measure import timing


def test_contenders_take_turns_after_one_call_each():
    calls = []
    times = timing.take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2,
                              seconds=0, at_least=2)
    assert "".join(calls) == "ab" + "aabb" * 2
    assert [len(times[name]) for name in "ab"] == [2, 2] and min(times["a"] + times["b"]) > 0


def test_a_step_is_repeated_until_the_time_is_over(monkeypatch):
    """A clock that advances by one second with every look at it: begun at 0, looked at before each further
    call (1 2 3), read at the end."""
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    calls = []
    assert timing.repeat(lambda: calls.append(1), seconds=3, at_least=1) == (3, 4) and len(calls) == 3


def test_a_ratio_is_the_median_of_the_rounds_ratios():
    """2/1, 6/2, 3/3: the median of 2, 3, 1 is 2. (The ratio of the medians would be 3/2.)"""
    assert timing.ratio([2, 6, 3], [1, 2, 3]) == {"median": 2, "least": 1, "most": 3}
    assert timing.spread(timing.ratio([2, 6, 3], [1, 2, 3])) == "2.00 (1.00 to 3.00)"


def test_copies_fill_more_than_a_cache_and_a_large_thing_has_none():
    """192 MB: two things of 100 MB, one of 500 MB, and of small ones no more than 64."""
    thing = np.zeros(3)
    assert [len({id(a) for a in islice(timing.streamed(thing, nbytes), 200)})
            for nbytes in (100e6, 500e6, 10)] == [2, 1, 64]
    assert next(timing.streamed(thing, 100e6)) is thing


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells it a second time")
def test_peak_memory_is_in_bytes():
    """What the kernel calls the high water mark, in KiB, or what pytest's parent had held before. (The two
    counts are brought up to date at different moments.) A number of KiB or MB would be 1,000 times less."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines()
                if line.startswith("VmHWM"))
    assert timing.peak_bytes() >= 0.98 * 1024 * int(line.split()[1])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no getrusage")
@pytest.mark.parametrize("system, unit", [("Linux", 1024), ("Darwin", 1)])
def test_systems_count_peak_memory_in_units_of_their_own(system, unit, monkeypatch):
    monkeypatch.setattr("resource.getrusage", lambda who: SimpleNamespace(ru_maxrss=7))
    monkeypatch.setattr("os.uname", lambda: SimpleNamespace(sysname=system))
    assert timing.peak_bytes() == 7 * unit
