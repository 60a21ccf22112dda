"""What 4-bit activations cost, in miniature.   [a48] §3.2, Table 1; [v2] Tables 1, 5"""
from functools import partial

from ..measure import plotting
from .ablations import CHANGES
from .lines import Experiment, Line
from .miniatures import SEEDS, STEPS, in_seeds, own_rate, run
from .uncertainty import interval, mean_of, pooled, words

WIDTH = 32
# what: change, feed-forward activation ([a48] takes the squared ReLU); the model of 8 bits to compare with
WAYS = {"8 bits": ("", "silu", ""), "8 bits, ReLU²": ("", "relu2", ""),
        "Hadamard, 8 bits": ("rotated8", "silu", ""),
        "everywhere": ("int4", "silu", "8 bits"), "hybrid": ("hybrid", "relu2", "8 bits, ReLU²"),
        "Hadamard": ("rotated", "silu", "Hadamard, 8 bits"),
        "everywhere, last fifth": ("int4_last", "silu", "8 bits"),
        "hybrid, last fifth": ("hybrid_last", "relu2", "8 bits, ReLU²"),
        "Hadamard, last fifth": ("rotated_last", "silu", "Hadamard, 8 bits")}
PRINTED = {"8 bits": "13.37", "hybrid, last fifth": "13.61", "Hadamard, 8 bits": "13.50",
           "Hadamard, last fifth": "13.78"}               # [v2] Table 1, 400M, perplexity


def few_bits(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each way the excess of each seed}"""
    rows = [{"what": what, "change": change, "activation": activation,
             "excess": [run("ternary", WIDTH, own_rate(WIDTH), seed=seed, change=change,
                            activation=activation).excess for seed in seeds]}
            for what, (change, activation, _) in progress(WAYS.items())]
    return {"config": {"text": "pets", "width": WIDTH, "steps": STEPS, "seeds": list(seeds)}, "rows": rows}


def few_bits_in_words(result):
    """A line for each way."""
    config, rows = result["config"], {r["what"]: r["excess"] for r in result["rows"]}
    scale = f"pets, ternary, width {config['width']}, {config['steps']} steps, {in_seeds(config)}"
    differences = {what: [a - b for a, b in zip(rows[what], rows[base], strict=True)]
                   for what, (_, _, base) in WAYS.items() if base}
    sd, freedom = pooled(list(differences.values()))
    cost = {what: interval(each, sd, freedom) for what, each in differences.items()}
    plain, *others = (cost[f"{way}, last fifth"] for way in ("everywhere", "hybrid", "Hadamard"))
    yield Line("4 bits cost little by a hybrid, or behind a Hadamard transformation; everywhere they diverge",
               "for the last fifth of the steps, each against its own model of 8 bits: everywhere "
               f"{signed(plain)}, hybrid {signed(others[0])}, Hadamard {signed(others[1])} nats a story",
               scale, differs=plain[0] < 10 or any(mean > plain[0] for mean, _ in others))
    for what, excess in rows.items():
        there = f"{what}: perplexity {PRINTED[what]}" if what in PRINTED else what
        change = next(r["change"] for r in result["rows"] if r["what"] == what)
        against = f" ({signed(cost[what])} against {WAYS[what][2]})" if what in cost else ""
        yield Line(there, f"{', '.join(f'{e:.1f}' for e in excess)} nats a story{against}",
                   CHANGES[change].words)
    yield ("The papers' perplexities are of 400M parameters ([v2] Table 1), whose last twentieth has 4 bits. "
           "To diverge would be to lose ten nats and more.")


def signed(cost):
    """A difference in words."""
    return ("+" if cost[0] >= 0 else "") + words(*cost)


def draw(result, path):
    """Every way's excess less that of 8 bits."""
    means = {r["what"]: mean_of(r["excess"]) for r in result["rows"]}
    return plotting.differences([(what, means[what] - means[base], 0.0)
                                 for what, (_, _, base) in WAYS.items() if base],
                                "nats a story, against its own model of 8 bits", path)


EXPERIMENTS = {"few-bits": Experiment(few_bits, few_bits_in_words, partial(few_bits, SEEDS), draw)}
