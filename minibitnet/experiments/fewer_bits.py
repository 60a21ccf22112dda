"""What 4-bit activations cost, in miniature.   [a48] §3.2, Table 1; [v2] Tables 1, 5"""
from functools import partial

from ..measure import plotting
from .ablations import CHANGES
from .lines import Experiment, Line
from .miniatures import SEEDS, STEPS, in_seeds, own_rate, run
from .uncertainty import interval, mean_of, pooled, words

WIDTH = 32
# what: change, feed-forward activation ([a48] takes the squared ReLU)
WAYS = {"8 bits": ("", "silu"), "8 bits, ReLU²": ("", "relu2"), "Hadamard, 8 bits": ("rotated8", "silu"),
        "4 bits everywhere": ("int4", "silu"), "hybrid": ("hybrid", "relu2"), "Hadamard": ("rotated", "silu"),
        "4 bits, last fifth": ("int4_last", "silu"), "hybrid, last fifth": ("hybrid_last", "relu2"),
        "Hadamard, last fifth": ("rotated_last", "silu")}
PRINTED = {"8 bits": "13.37", "hybrid, last fifth": "13.61", "Hadamard, 8 bits": "13.50",
           "Hadamard, last fifth": "13.78"}               # [v2] Table 1, 400M, perplexity


def few_bits(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each way the excess of each seed}"""
    rows = [{"what": what, "change": change, "activation": activation,
             "excess": [run("ternary", WIDTH, own_rate(WIDTH), seed=seed, change=change,
                            activation=activation).excess for seed in seeds]}
            for what, (change, activation) in progress(WAYS.items())]
    return {"config": {"text": "pets", "width": WIDTH, "steps": STEPS, "seeds": list(seeds)}, "rows": rows}


def few_bits_in_words(result):
    """A line for each way."""
    config, rows = result["config"], {r["what"]: r["excess"] for r in result["rows"]}
    scale = f"pets, ternary, width {config['width']}, {config['steps']} steps, {in_seeds(config)}"
    differences = {what: [a - b for a, b in zip(excess, rows["8 bits"], strict=True)]
                   for what, excess in rows.items() if what != "8 bits"}
    sd, freedom = pooled(list(differences.values()))
    cost = {what: interval(each, sd, freedom) for what, each in differences.items()}
    plain, best = cost["4 bits everywhere"], min(("hybrid, last fifth", "Hadamard, last fifth"),
                                                 key=lambda what: cost[what][0])
    yield Line("4 bits cost little by a hybrid, or behind a Hadamard transformation; everywhere they diverge",
               f"against 8 bits: everywhere {signed(plain)}, hybrid {signed(cost['hybrid, last fifth'])}, "
               f"Hadamard {signed(cost['Hadamard, last fifth'])} nats a story", scale,
               differs=plain[0] < 3 * max(cost[best][0], 1.0))
    for what, excess in rows.items():
        there = f"{what}: perplexity {PRINTED[what]}" if what in PRINTED else what
        change = next(r["change"] for r in result["rows"] if r["what"] == what)
        yield Line(there, f"{', '.join(f'{e:.1f}' for e in excess)} nats a story", CHANGES[change].words)
    yield ("The papers' perplexities are of 400M parameters ([v2] Table 1), whose last twentieth has 4 bits. "
           "At a width of 32 there are hardly any outliers that 4 bits could lose.")


def signed(cost):
    """A difference in words."""
    return ("+" if cost[0] >= 0 else "") + words(*cost)


def draw(result, path):
    """Every way's excess less that of 8 bits."""
    base = mean_of(result["rows"][0]["excess"])
    return plotting.differences([(r["what"], mean_of(r["excess"]) - base, 0.0) for r in result["rows"][1:]],
                                "nats a story, against 8 bits", path)


EXPERIMENTS = {"few-bits": Experiment(few_bits, few_bits_in_words, partial(few_bits, SEEDS), draw)}
