"""Joules by the processor's counters: which are added up, how, and what is said where there is none."""
import json
import os

import pytest

from minibitnet.experiments import joules
from minibitnet.experiments.joules import IDLE, Zone
from minibitnet.experiments.lines import as_text

FOLDERS = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram",
           "intel-rapl:1": "package-1", "intel-rapl:2": "psys",
           "intel-rapl-mmio:0": "package-0", "intel-rapl": None}


@pytest.fixture
def powercap(tmp_path):
    """Two packages, of which one has memory with a counter of its own; and what must not be added up."""
    if os.name == "nt":
        pytest.skip("powercap's names have colons, which Windows refuses")
    for folder, name in FOLDERS.items():
        (tmp_path / folder).mkdir()
        if name:
            for file, text in (("name", name), ("energy_uj", "990"), ("max_energy_range_uj", "1000")):
                (tmp_path / folder / file).write_text(f"{text}\n", encoding="ascii")
    return tmp_path


def test_packages_and_memory_are_added_up_and_nothing_twice(powercap):
    found, why_none = joules.zones(powercap)
    assert [zone.name for zone in found] == ["package-0", "dram", "package-1"] and why_none is None
    assert found[0].counter.parent.name == "intel-rapl:0" and found[0].range == 1000


def test_a_counter_that_starts_again_at_zero():
    """Of 1000: from 990 to 10 are 20 micro-joules, from 10 to 990 are 980."""
    zone = Zone("package-0", None, 1000)
    assert joules.joules(zone, 990, 10) == 20e-6 and joules.joules(zone, 10, 990) == 980e-6
    assert joules.joules(zone, 5, 5) == 0


def test_every_contender_is_charged_with_what_the_counters_count_in_its_turn(powercap):
    """A step that adds 3 to package-0, and one that adds 5 to package-0 and 1 to dram; the counters begin at
    990 of 1000 and wrap."""
    counters, _ = joules.zones(powercap)

    def add(**amounts):
        for zone in counters:
            value = (joules.read(zone) + amounts.get(zone.name.replace("-0", ""), 0)) % 1000
            zone.counter.write_text(str(value), encoding="ascii")
    steps = {IDLE: lambda: None,
             "small": lambda: add(package=3),
             "large": lambda: add(package=5, dram=1)}
    turns = joules.take_turns(steps, counters, rounds=4, seconds=0)
    assert [used for used, _ in turns[IDLE]] == [0] * 4
    assert [used for used, _ in turns["small"]] == pytest.approx([3e-6] * 4)
    assert [used for used, _ in turns["large"]] == pytest.approx([6e-6] * 4)
    rows = joules.in_rows(turns)
    assert rows["small"]["joules_per_token"] == pytest.approx(3e-6)
    assert "joules_per_token" not in rows[IDLE] and rows[IDLE]["watts"] == 0


def test_watts_are_joules_over_seconds_and_not_over_calls(powercap, monkeypatch):
    """Four calls in half a second use 8 micro-joules: 2 a call, 16 micro-watts."""
    counters, _ = joules.zones(powercap)

    def four_calls(step, seconds):
        counters[1].counter.write_text("998", encoding="ascii")
        return 4, 0.5
    monkeypatch.setattr(joules, "repeat", four_calls)
    turns = joules.take_turns({"packed": lambda: None}, counters, rounds=1, seconds=0)
    assert turns == {"packed": [(pytest.approx(2e-6), pytest.approx(16e-6))]}


def test_the_spread_is_that_of_the_joules():
    """Rounds of 2 J at 9 W, 1 J at 7 W, 4 J at 8 W: 2 J from 1 to 4, 8 W."""
    rows = joules.in_rows({"packed": [(2, 9), (1, 7), (4, 8)]})
    assert rows == {"packed": {"watts": 8, "joules_per_token": 2, "least": 1, "most": 4}}


def test_without_a_counter_nothing_is_measured_or_estimated(tmp_path):
    r = joules.quick(tmp_path / "nothing here")
    assert r["zones"] == [] and r["rows"] == {} and json.loads(json.dumps(r)) == r
    [line] = map(as_text, joules.in_words(r))
    assert "no counter: " in line and "nothing is estimated" in line and line.count(" | ") == 2
    assert line.startswith("0.314 and 0.140 J a token of 700M")


def test_a_counter_for_root_alone_is_said_to_be_one(powercap, monkeypatch):
    def denied(zone):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(joules, "read", denied)
    found, why_none = joules.zones(powercap)
    assert found == [] and "energy_uj may not be read: Linux shows it to root alone" in why_none


def test_a_zone_that_is_switched_off_is_passed_over(powercap):
    (powercap / "intel-rapl:1/energy_uj").unlink()
    assert [zone.name for zone in joules.zones(powercap)[0]] == ["package-0", "dram"]


def test_both_engines_and_idle_have_a_row_where_there_is_a_counter(powercap):
    r = joules.measure("tiny", powercap, rounds=1, seconds=0)
    assert set(r["rows"]) == {IDLE, "float", "packed"}
    assert r["rows"]["packed"]["joules_per_token"] == 0, "these counters stand still"
    assert json.loads(json.dumps(r)) == r
    of_contenders = list(map(as_text, joules.in_words(r)))[:3]
    assert [line.split(" | ")[1].split(":")[0] for line in of_contenders] == ["float", "packed", IDLE]
