"""Contenders that take turns, in this process and in processes of their own."""
import operator
import os
import signal
import threading
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.measure import kernel_bench, timing, train_bench


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


# ---- in processes of their own

class Pipe:
    """A pipe on whose other end the command says these words."""
    def __init__(self, *words):
        self.recv, self.sent = iter(words).__next__, []
        self.send = self.sent.append


def test_a_contender_is_warmed_by_three_steps_and_sends_the_time_of_one(monkeypatch):
    """Four steps in two seconds are half a second each."""
    monkeypatch.setattr(timing, "repeat", lambda step, seconds: (4, 2.0))
    calls, pipe = [], Pipe("go", "go", "stop")
    timing.work(pipe, 9, lambda word: (lambda: calls.append(word), {"tokens": 7}), "step")
    assert calls == ["step"] * 3 and pipe.sent[:3] == [{"tokens": 7}, 0.5, 0.5] and not pipe.sent[3] < 10


def test_a_contender_whose_command_is_gone_ends_without_a_word():
    def gone():
        raise EOFError
    pipe = Pipe()
    pipe.recv = gone
    timing.work(pipe, 9, lambda: (int, {}))
    assert pipe.sent == [{}]


def test_contenders_have_processes_of_their_own_and_take_turns():
    """Ours and its products alone, at the smallest size. (That ours is slower is for a quiet machine to
    show.)"""
    jobs = {name: (train_bench.training_step, name, "S", "float", 1)
            for name in (train_bench.OURS, train_bench.GEMMS)}
    results = timing.processes_take_turns(jobs, rounds=2, seconds=0)
    assert results.keys() == jobs.keys()
    for times, facts, peak in results.values():
        assert len(times) == 2 and min(times) > 0 and facts == {"tokens": 16 * 128}
        assert not peak < 30, "NaN on Windows"


@pytest.mark.parametrize("make, message", [
    ((operator.truediv, 1, 0), "second: division by zero"),
    ((operator.getitem, [], 3), "index out of range"),
    ((os._exit, 7), "the process of second ended early"),
])
def test_what_fails_in_a_process_is_told_once(make, message, capfd):
    """The command raises it as one line; the process that failed, and the one that waited meanwhile, print
    nothing."""
    jobs = {"first": (kernel_bench.kernel_call, "bit planes", 4, 64, 1, 1), "second": make}
    with pytest.raises(UserError, match=message) as e:
        timing.processes_take_turns(jobs, rounds=1, seconds=0)
    assert "\n" not in str(e.value) and capfd.readouterr().err == ""


@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
def test_ctrl_c_while_a_process_starts_is_heard_afterwards():
    """Whichever thread the system gives it to."""
    started, ended = [], threading.Event()
    threading.Thread(target=ended.wait, daemon=True).start()

    def start():
        os.kill(os.getpid(), signal.SIGINT)
        started.append("to the end")
    process = SimpleNamespace(start=start)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)      # a script's `pytest &` ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            timing.start_deaf(process)
        signal.signal(signal.SIGINT, signal.SIG_IGN)                       # and then goes on ignoring it
        timing.start_deaf(process)
    finally:
        signal.signal(signal.SIGINT, before)
        ended.set()
    assert started == ["to the end"] * 2
