"""Joules per token on this machine, by the processor's own counters (RAPL).

Where Linux shows them (powercap), a zone of /sys/class/powercap counts micro-joules in ``energy_uj`` up to
``max_energy_range_uj`` and starts at 0 again. Added up are the packages and, where it has a counter of its
own, their memory ("dram"). Not added: "core" and "uncore", which are parts of a package; "psys", which holds
them all; zones of intel-rapl-mmio, the same counters by another way.

A package counts whatever runs on it. So a contender called idle, which sleeps, takes its turn too: its watts
are shown beside, and nothing is subtracted. Where there is no counter, nothing is estimated in its place.
"""
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ..nn.config import ModelConfig
from . import paper
from ..measure.random_models import SEED, SHAPES, engines, model_step
from ..measure.timing import blas_threads, repeat
from .lines import Experiment, Line

POWERCAP = Path("/sys/class/powercap")
IDLE, NAP, PAST = "idle", 0.05, 64


class Zone(NamedTuple):
    name: str         # package-0, dram
    counter: Path
    range: int        # micro-joules


def zones(powercap):
    """The zones to add up -> (list, None), or ([], why there is none)."""
    found = []
    for folder in sorted(powercap.glob("intel-rapl:*")):     # AMD's processors are called intel-rapl as well
        try:
            name = (folder / "name").read_text(encoding="ascii").strip()
            if name.startswith("package") or name == "dram":
                most = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
                zone = Zone(name, folder / "energy_uj", most)
                read(zone)
                found.append(zone)
        except PermissionError:
            return [], f"{folder / 'energy_uj'} may not be read: Linux shows it to root alone"
        except (OSError, ValueError):
            continue                                         # a zone that is switched off
    if not found:
        return [], f"{powercap} has none (no RAPL, no Linux, or a virtual machine that hides it)"
    return found, None


def read(zone):
    """A zone's counter, in microjoules."""
    return int(zone.counter.read_text(encoding="ascii"))


def joules(zone, before, after):
    """Between two readings with at most one start at 0 between them; to the next it takes a quarter of an
    hour or more."""
    return ((after - before) % zone.range if after < before else after - before) / 1e6


def take_turns(steps, counters, rounds, seconds):
    """{name: function to call} -> {name: [(joules a call, watts), in every round]}."""
    for step in steps.values():
        step()
    rows = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            before = [read(zone) for zone in counters]
            calls, took = repeat(step, seconds)
            used = sum(joules(zone, b, read(zone)) for zone, b in zip(counters, before))
            rows[name].append((used / calls, used / took))
    return rows


def quick(powercap=POWERCAP):
    """Two seconds a contender, five rounds."""
    return measure("15m", powercap, rounds=5, seconds=2)


def measure(shape, powercap, rounds, seconds):
    """-> {"config", "zones", "why_none", "rows": {contender: joules per token (but of idle) and watts}}"""
    counters, why_none = zones(Path(powercap))
    c, rows = ModelConfig(**SHAPES[shape]), {}
    if counters:
        steps = {IDLE: lambda: time.sleep(NAP)}
        steps |= {name: model_step(engine, c, 1, PAST) for name, (engine, _) in engines(c).items()}
        rows = in_rows(take_turns(steps, counters, rounds, seconds))
    config = {
        "shape": shape,
        **SHAPES[shape],
        "seed": SEED,
        "past": PAST,
        "rounds": rounds,
        "seconds": seconds,
        "threads": blas_threads(),
    }
    return {"config": config, "zones": [zone.name for zone in counters], "why_none": why_none, "rows": rows}


def in_rows(turns):
    """The median of the rounds and their spread; of idle, which makes no tokens, watts alone."""
    rows = {}
    for name, rounds in turns.items():
        joules_a_call, watts = zip(*rounds)
        rows[name] = {"watts": median(watts)}
        if name != IDLE:
            rows[name] |= {
                "joules_per_token": median(joules_a_call),
                "least": min(joules_a_call),
                "most": max(joules_a_call),
            }
    return rows


def measured(r):
    """Was there a counter?"""
    return bool(r["zones"])


def in_words(r):
    """A line for every contender, or why there is none."""
    cpp, c = paper.table("cpp_table_6"), r["config"]
    claim = " and ".join(cpp.rows["Apple M2", program]["700M"] for program in ("llama.cpp", "bitnet.cpp"))
    claim = f"{claim} J a token of 700M in FP16 and ternary, on an M2 ({cpp.source})"
    if not r["zones"]:
        yield Line(claim, f"no counter: {r['why_none']}; nothing is estimated in its place", "this machine")
        return
    scale = (f"one token after {c['past']}, a model of the shape {c['shape']}; {c['threads']}; counters "
             f"{', '.join(r['zones'])}; median (least to most) of {c['rounds']} rounds")
    # idle last: the first line sums up the row
    for name, row in sorted(r["rows"].items(), key=lambda item: item[0] == IDLE):
        here = f"{row['watts']:.1f} W"
        if name != IDLE:
            rounds = f"{row['least']:.4f} to {row['most']:.4f}"
            here = f"{row['joules_per_token']:.4f} J a token ({rounds}), {here}"
        yield Line(claim, f"{name}: {here}", scale)
    yield ("The counters hold all that runs on the processor, and what it takes when idle: of the idle line "
           "every other one has its share.")


EXPERIMENTS = {"joules": Experiment(quick, in_words, measured=measured)}
