"""What a size costs, and what it buys, in miniature: the models of ``miniatures.by_width`` over N, bytes and
energy. [bitnet] eq. 19, Fig. 3, §3.2; [b158] Fig. 1, §1."""
import math
from functools import partial

from ..measure import costs, plotting
from ..nn.training import code_statistics, codes_of
from .equal_cost import compared
from .lines import Experiment, Line
from .miniatures import (ARMS, RATE, SEEDS, STEPS, by_width, configuration, in_seeds, ladder, own_rate, run,
                         scale_of)
from .scaling import at, power_law
from .uncertainty import mean_of, spread

EXCESS = "excess (nats a story)"
NEAR = 0.25                            # a forecast that is off by less than this share is called right


def by_cost(result, arm, cost):
    """{cost: [excess of each seed]} of an arm: "matrices" for N, "bytes" or "microjoules"."""
    return {r[cost] if cost == "matrices" else r[arm][cost]: r[arm]["excess"] for r in result["rows"]}


# ---- [bitnet] eq. 19: a law of all sizes but the largest, which it foretells

def laws(result):
    """-> {arm: {"a", "b" of E = a N^b, "foretold" and "found" of the largest size}}"""
    found = {}
    for arm in ARMS:
        *smaller, largest = cells = by_cost(result, arm, "matrices")
        means = {n: math.exp(mean_of([math.log(e) for e in cells[n]])) for n in cells}
        ln_a, b, _ = power_law(smaller, [means[n] for n in smaller], [len(cells[n]) for n in smaller])
        found[arm] = {"a": math.exp(ln_a), "b": float(b), "foretold": at(largest, ln_a, b),
                      "found": means[largest]}
    return found


def laws_in_words(result):
    """A line for each arm."""
    found, scale = laws(result), scale_of(result["config"])
    last = result["rows"][-1]["d"]
    off = {arm: law["foretold"] / law["found"] - 1 for arm, law in found.items()}
    shrinks = found["ternary"]["b"] < found["float"]["b"]
    yield Line("a law of the smaller sizes foretells the larger ones, and the gap to FP16 shrinks",
               f"the excess at width {last} is foretold "
               f"{', '.join(f'{o:+.0%} off ({arm})' for arm, o in off.items())}; ternary's falls "
               f"{'faster' if shrinks else 'no faster'} with N than float's", scale,
               differs=not shrinks or any(abs(o) > NEAR for o in off.values()))
    for arm, law in found.items():
        yield Line(arm, f"E = {law['a']:.3g} N^{law['b']:.2f}; foretold {law['foretold']:.2f} nats a story, "
                   f"found {law['found']:.2f}", scale)
    yield ("E is the loss above the entropy of the language, which is known here: the law's c. With more "
           "sizes and its own interval: data/results/trained.md.")


def draw_laws(result, path):
    """What was found, and both laws."""
    series = {arm: {n: spread(e) for n, e in by_cost(result, arm, "matrices").items()} for arm in ARMS}
    series |= {f"{arm}, the law": {r["matrices"]: at(r["matrices"], math.log(law["a"]), law["b"])
                                   for r in result["rows"]} for arm, law in laws(result).items()}
    return plotting.points(series, "N, numbers in the matrices", EXCESS, path)


# ---- [bitnet] Fig. 3: over parameters, and over energy

def over_cost_in_words(result):
    """A line for every width."""
    rows, scale = result["rows"], scale_of(result["config"])
    better = [r["d"] for r in rows if mean_of(r["ternary"]["excess"]) < mean_of(r["float"]["excess"])]
    at_energy = equal(result, "microjoules")
    yield Line("over parameters BitNet comes near FP16; over energy it is far below",
               f"over N ternary is not below float at {len(rows) - len(better)} of {len(rows)} widths; over "
               f"energy: {in_relation(at_energy)}", scale, differs=not is_below(at_energy))
    for r in rows:
        here = "; ".join(f"{arm} {mean_of(r[arm]['excess']):.2f} nats for {r[arm]['microjoules']:.1f} µJ"
                         for arm in ARMS)
        yield Line(f"N = {r['matrices']:,}", here, scale)


def draw_over_cost(result, path):
    """Over N and over energy, side by side."""
    def series(cost):
        return {arm: {round(n, 1): spread(e) for n, e in by_cost(result, arm, cost).items()} for arm in ARMS}
    return plotting.panels([("N, numbers in the matrices", EXCESS, series("matrices")),
                            ("µJ for 512 tokens, 7 nm", EXCESS, series("microjoules"))], path)


# ---- at equal energy, at equal bytes

UNITS = {"microjoules": "µJ for 512 tokens", "bytes": "bytes of weights"}
CLAIMS = {"microjoules": "at the same inference energy BitNet has a much lower loss",
          "bytes": "less cost at the same quality"}


def equal(result, cost):
    """Ternary against float at the cost of the largest ternary model that float's sizes include."""
    ours, theirs = (by_cost(result, arm, cost) for arm in ARMS)
    inside = [c for c in ours if min(theirs) <= c <= max(theirs)]
    return compared(ours, theirs, max(inside, default=max(ours)))


def is_below(found):
    """Is ternary's excess the lower one there?"""
    return found["ratio"] is not None and found["ratio"] < 1


def in_relation(found):
    """Who is better there, in words."""
    if found["ratio"] is None:
        return "no size of float costs so little"
    interval = found["interval"]
    between = f" (95 %: {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"ternary's excess is {found['ratio']:.2f} times float's{between}"


def equal_energy_in_words(result):
    """At equal energy, and a line for every width."""
    yield from at_equal(result, "microjoules")


def equal_bytes_in_words(result):
    """At equal bytes, and a line for every width."""
    yield from at_equal(result, "bytes")


def at_equal(result, cost):
    """The lines of one cost."""
    found, scale = equal(result, cost), scale_of(result["config"])
    many = f"; float needs {found['times']:.1f} times as much for the same" if found["times"] else ""
    yield Line(CLAIMS[cost], f"at {found['cost']:,.0f} {UNITS[cost]} {in_relation(found)}{many}", scale,
               differs=not is_below(found))
    for r in result["rows"]:
        here = "; ".join(f"{arm} {mean_of(r[arm]['excess']):.2f} nats for {r[arm][cost]:,.0f}"
                         for arm in ARMS)
        yield Line(f"width {r['d']}", here, scale)
    yield ("Between two sizes the logarithm of the excess is taken to be linear in that of the cost; beyond "
           "the sizes nothing is said.")


def draw_equal(cost, result, path):
    """The picture of one cost."""
    series = {arm: {round(n): spread(e) for n, e in by_cost(result, arm, cost).items()} for arm in ARMS}
    return plotting.points(series, UNITS[cost], EXCESS, path)


# ---- [b158] §1: what a weight of 0 is worth, at equal bits

PAIRED = 32
INFORMATION = math.log2(3)             # bits of a ternary weight


def zeros(seeds=(0,), progress=iter):
    """-> {"config", "rows": ternary, and binary of as many weights, of as many bits of information, and of as
    many bits as ternary weights are stored in; "zeros": share of the ternary ones that are 0}"""
    sizes = {"ternary": ("ternary", PAIRED), "binary, as many weights": ("binary", PAIRED)}
    for words, bits in (("binary, as many bits", INFORMATION), ("binary, as many bytes", 2)):
        sizes[words] = "binary", 4 * round(PAIRED * math.sqrt(bits) / 4)
    rows = [{"what": words, "d": d, "bits": round(configured_bits(arm, d)), "excess": ladder(arm, d, seeds)}
            for words, (arm, d) in progress(sizes.items())]
    codes = codes_of(run("ternary", PAIRED, own_rate(PAIRED), seed=seeds[0]).model.quantized())
    return {"config": {"text": "pets", "steps": STEPS, "rate": RATE, "seeds": list(seeds)}, "rows": rows,
            "zeros": code_statistics(codes, codes)[0]}


def configured_bits(arm, d):
    """The information of the matrices: log2 3 bits a ternary weight, one a binary one."""
    return costs.in_matrices(configuration(arm, d)) * (INFORMATION if arm == "ternary" else 1)


def zeros_in_words(result):
    """A line for each model."""
    ternary, *binaries = result["rows"]
    ours = mean_of(ternary["excess"])
    means = {r["what"]: mean_of(r["excess"]) for r in binaries}
    scale = f"pets, {result['config']['steps']} steps, {in_seeds(result['config'])}, one rate for all"
    worse = [what for what, mean in means.items() if mean > ours]
    yield Line("zeros make ternary models better than binary ones",
               f"ternary {ours:.2f} nats a story above the floor; " + "; ".join(
                   f"{what}: {mean:.2f}" for what, mean in means.items()), scale,
               differs=len(worse) < len(means))
    for r in result["rows"]:
        yield Line(r["what"], f"{', '.join(f'{e:.2f}' for e in r['excess'])} nats", f"width {r['d']}, "
                   f"{r['bits']:,} bits in the matrices")
    yield (f"{result['zeros']:.0%} of the ternary weights are 0. A ternary weight holds {INFORMATION:.3f} "
           "bits; packed, it takes 2.")


EXPERIMENTS = {
    name: Experiment(partial(by_width, (0,), iter), in_words, partial(by_width, SEEDS), figure)
    for name, in_words, figure in (
        ("power_law", laws_in_words, draw_laws), ("over_cost", over_cost_in_words, draw_over_cost),
        ("equal_energy", equal_energy_in_words, partial(draw_equal, "microjoules")),
        ("equal_bytes", equal_bytes_in_words, partial(draw_equal, "bytes")))
} | {"zeros": Experiment(zeros, zeros_in_words, partial(zeros, SEEDS))}
