"""What 4-bit activations cost, in miniature.   [a48] arXiv 2411.04965 §3; [v2] arXiv 2504.18415 Tables 1, 5

What comes out of a norm is like a bell, and 4 bits do. What comes before o and before down has a few large
numbers and many near 0, and 4 bits of it lose too much: [a48] keeps 8 bits there, and leaves half of o's out;
[v2] turns it with a Hadamard matrix, which spreads the large ones over all, and then 4 bits do. These two are
variants of the model; two more are here for comparison alone.
"""
from functools import partial
from typing import NamedTuple

from ..measure import plotting
from ..variants import EIGHT_BITS, FOUR_BITS, VARIANTS
from .lines import Experiment, Line
from .miniatures import SEEDS, STEPS, in_seeds, own_rate, run
from .paper import table
from .replacing import added
from .uncertainty import interval, mean_of, pooled, words

WIDTH = 32
TERNARY, TURNED = VARIANTS["ternary"], EIGHT_BITS._replace(rotated=True)
OWN_VARIANTS = {"int4": TERNARY._replace(inputs=FOUR_BITS, o=FOUR_BITS, down=FOUR_BITS),
                "v2_a8": TERNARY._replace(o=TURNED, down=TURNED)}
PRINTED = "400M"                       # the size whose perplexities stand beside ours


class Way(NamedTuple):
    """A variant, its feed-forward activation, the share of the steps with 8 bits; the Way of 8 bits to
    compare with, and what [v2] Table 1 calls it."""
    arm: str
    activation: str = "silu"
    a8_share: float = 0.0
    base: str = ""
    paper: str = ""


WAYS = {"8 bits": Way("ternary", paper="BitNet b1.58"),
        "8 bits, ReLU²": Way("ternary", "relu2"),
        "Hadamard, 8 bits": Way("v2_a8", paper="BitNet v2 (a8)"),
        "everywhere": Way("int4", base="8 bits"),
        "hybrid": Way("a48", "relu2", base="8 bits, ReLU²"),
        "Hadamard": Way("v2", base="Hadamard, 8 bits"),
        "everywhere, last fifth": Way("int4", a8_share=0.8, base="8 bits"),
        "hybrid, last fifth": Way("a48", "relu2", 0.8, "8 bits, ReLU²", "BitNet a4.8"),
        "Hadamard, last fifth": Way("v2", "silu", 0.8, "Hadamard, 8 bits", "BitNet v2 (a4)")}


def few_bits(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each way the excess of each seed}"""
    with added(VARIANTS, OWN_VARIANTS):
        rows = [{"what": what, "arm": way.arm, "activation": way.activation, "a8_share": way.a8_share,
                 "excess": [run(way.arm, WIDTH, own_rate(WIDTH), seed=seed, activation=way.activation,
                                a8_share=way.a8_share).excess for seed in seeds]}
                for what, way in progress(WAYS.items())]
    return {"config": {"text": "pets", "width": WIDTH, "steps": STEPS, "seeds": list(seeds)}, "rows": rows}


def few_bits_in_words(result):
    """A line for each way."""
    config, rows = result["config"], {r["what"]: r["excess"] for r in result["rows"]}
    scale = f"pets, ternary, width {config['width']}, {config['steps']} steps, {in_seeds(config)}"
    differences = {what: [a - b for a, b in zip(rows[what], rows[way.base], strict=True)]
                   for what, way in WAYS.items() if way.base}
    sd, freedom = pooled(list(differences.values()))
    cost = {what: interval(each, sd, freedom) for what, each in differences.items()}
    plain, *others = (cost[f"{way}, last fifth"] for way in ("everywhere", "hybrid", "Hadamard"))
    yield Line("4 bits cost little by a hybrid, or behind a Hadamard transformation; everywhere they diverge",
               "for the last fifth of the steps, each against its own model of 8 bits: everywhere "
               f"{signed(plain)}, hybrid {signed(others[0])}, Hadamard {signed(others[1])} nats a story",
               scale, differs=plain[0] < 10 or any(mean > plain[0] for mean, _ in others))
    printed = table("v2_table_1").rows
    for what, excess in rows.items():
        way = WAYS[what]
        there = f"{what}: perplexity {printed[PRINTED, way.paper]['PPL']}" if way.paper else what
        against = f" ({signed(cost[what])} against {way.base})" if way.base else ""
        yield Line(there, f"{', '.join(f'{e:.1f}' for e in excess)} nats a story{against}",
                   f"linear = {way.arm}, activation = {way.activation}")
    yield (f"The papers' perplexities are of {PRINTED} parameters ([v2] Table 1), whose last twentieth has 4 "
           "bits. To diverge would be to lose ten nats and more.")


def signed(cost):
    """A difference in words."""
    return ("+" if cost[0] >= 0 else "") + words(*cost)


def draw(result, path):
    """Every way's excess less that of 8 bits."""
    means = {r["what"]: mean_of(r["excess"]) for r in result["rows"]}
    return plotting.differences([(what, means[what] - means[way.base], 0.0)
                                 for what, way in WAYS.items() if way.base],
                                "nats a story, against its own model of 8 bits", path)


EXPERIMENTS = {"few-bits": Experiment(few_bits, few_bits_in_words, partial(few_bits, SEEDS), draw)}
