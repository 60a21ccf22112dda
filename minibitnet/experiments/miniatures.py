"""The trained rows in miniature: seconds on *pets*, a language of one line whose entropy is known by hand.

A miniature shows which way a claim points at this size, and no more; live with one seed, in full with three.
The plan's runs, on stories and on real text, are what the claims need: data/results/trained.md.
"""
import math
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from ..data_files import packaged
from ..errors import NonFiniteError
from ..measure import costs, held_out, plotting
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from ..nn.optim import AdamW
from ..nn.training import Recorder, TrainConfig, train, with_defaults
from ..text.batches import parts
from ..text.corpora import load_corpus, texts
from ..text.streams import token_stream
from ..text.tokenizer import make_tokenizer
from . import energy
from .ablations import CHANGES
from .lines import Experiment, Line
from .stability import end, rises
from .uncertainty import interval, mean_of, pooled, spread, words

ARMS, SEEDS = ("ternary", "float"), (0, 1, 2)
CONTEXT, LAYERS, HEADS, BATCH = 80, 2, 2, 8
WIDTHS, STEPS, RATE = (16, 24, 32, 48), 150, 0.008    # of width 32; it falls with the root of the width
RATES, RATE_STEPS, RATE_WIDTH = (0.01, 0.04, 0.16, 0.64), 80, 32
GUARDED = (0.005, 0.01, 0.02, 0.04, 0.08)


@cache
def pets():
    """-> (tokenizer, training Part, validation Part, nats a token that the language itself has there)"""
    corpus = load_corpus(str(packaged("pets.txt")))
    tokenizer = make_tokenizer("char", texts(corpus), corpus.has_documents)
    training, validation = parts(token_stream(corpus, tokenizer), CONTEXT, 0.1)
    return tokenizer, training, validation, held_out.floor(validation, tokenizer)


class Trained(NamedTuple):
    """A model, the training loss of every step, and nats a story above the floor: None where a loss was no
    number."""
    model: Transformer
    losses: list
    excess: float | None


class Changed(NamedTuple):
    """What a change of ``ablations`` asks of a run."""
    arm: str
    steps: int


@cache
def run(arm, d, lr, steps=STEPS, seed=0, change="", activation="silu", **options):
    """Train a small model on pets -> Trained. change: one of ``ablations``."""
    tokenizer, training, validation, floor = pets()
    config = configuration(arm, d, activation)
    c = with_defaults(TrainConfig(data="pets", lr=lr, steps=steps, batch=BATCH, seed=seed, eval_every=steps,
                                  log_every=1, **options), config)
    with CHANGES[change].apply(Changed(arm, steps)):
        model = Transformer(config, seed)
        recorder = Recorder(None, {}, validation, validation.count_bytes(tokenizer), floor=floor)
        excess = None
        try:
            train(model, AdamW(model.parameters(), c.beta1, c.beta2), c, training, recorder)
            excess = validation.per_document(recorder.lines[-1]["val_loss"] - floor)
        except NonFiniteError:
            pass
    return Trained(model, [line["loss"] for line in recorder.lines], excess)


def configuration(arm, d, activation="silu"):
    """The ModelConfig of a width."""
    return ModelConfig(vocab_size=pets()[0].vocab_size, linear=arm, d_model=d, n_layers=LAYERS,
                       n_heads=HEADS, context=CONTEXT, activation=activation)


def own_rate(d):
    """The learning rate of a width."""
    return RATE * math.sqrt(32 / d)


def ladder(arm, d, seeds):
    """The excess of each seed at a width."""
    return [run(arm, d, own_rate(d), seed=seed).excess for seed in seeds]


def by_width(seeds, progress):
    """-> {"config", "rows": for each width N, and of each arm its bytes, microjoules, and the excess of each
    seed}"""
    rows = []
    for d in progress(WIDTHS):
        configs = {arm: configuration(arm, d) for arm in ARMS}
        rows.append({"d": d, "matrices": costs.in_matrices(configs["float"])}
                    | {arm: dict(zip(("bytes", "microjoules"), energy.of_model(config)))
                       | {"excess": ladder(arm, d, seeds)} for arm, config in configs.items()})
    return {"config": {"text": "pets", "steps": STEPS, "rate": RATE, "seeds": list(seeds)}, "rows": rows}


def scale_of(config):
    """What was trained, in words."""
    return f"pets, {config['steps']} steps, {in_seeds(config)}, one rate for both"


def in_seeds(config):
    """How many, in words."""
    n = len(config["seeds"])
    return f"{n} seeds" if n > 1 else "one seed"


# ---- [b158] Table 1: the gap to full precision by size

def by_size(seeds=(0,), progress=iter):
    """The excess of both arms at every width."""
    return by_width(seeds, progress)


def by_size_in_words(result):
    """A line for every width."""
    rows, config = result["rows"], result["config"]
    gaps = [gap(r) for r in rows]
    mean, half = gaps[-1]
    yield Line("ternary reaches full precision's perplexity from 3B on",
               f"ternary is worse by {words(*gaps[0])} nats a story at width {rows[0]['d']}, by "
               f"{words(mean, half)} at width {rows[-1]['d']}", scale_of(config),
               differs=mean > (half or 0.05))
    for r in rows:
        ternary, full = (", ".join(f"{e:.2f}" for e in r[arm]["excess"]) for arm in ARMS)
        here = f"{ternary} nats a story above the floor; float {full}"
        yield Line(f"width {r['d']}", here, scale_of(config))
    yield ("± is a 95 % interval of the seeds. The arms share a learning rate here, which is fair to "
           "neither: in the plan each has its own (data/results/trained.md).")


def gap(row):
    """Excess of ternary less that of float, seed by seed -> (mean, half of its 95 % interval or None)"""
    each = [a - b for a, b in zip(*(row[arm]["excess"] for arm in ARMS), strict=True)]
    return interval(each, *pooled([each]))


def draw_by_size(result, path):
    """The excess of both arms over N."""
    series = {arm: {r["matrices"]: spread(r[arm]["excess"]) for r in result["rows"]} for arm in ARMS}
    return plotting.points(series, "N, numbers in the matrices", "excess (nats a story)", path)


# ---- [bitnet] §2.2: a large learning rate helps

def own_rates(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each rate the excess of both arms, with clipping and warm-up}"""
    def excess(arm, lr, seed):
        return run(arm, RATE_WIDTH, lr, RATE_STEPS, seed).excess
    rows = [{"rate": lr, **{arm: [excess(arm, lr, seed) for seed in seeds] for arm in ARMS}}
            for lr in progress(GUARDED)]
    return {"config": {"text": "pets", "width": RATE_WIDTH, "steps": RATE_STEPS, "seeds": list(seeds)},
            "rows": rows}


def own_rates_in_words(result):
    """A line for every rate."""
    rows, config = result["rows"], result["config"]
    scale = f"pets, width {config['width']}, {config['steps']} steps, {in_seeds(config)}"
    means = {arm: {r["rate"]: mean_of(r[arm]) for r in rows} for arm in ARMS}
    best = {arm: min(of, key=of.get) for arm, of in means.items()}
    gains = {arm: of[rows[0]["rate"]] / min(of.values()) for arm, of in means.items()}
    yield Line("BitNet gains from a larger learning rate than FP16 does",
               f"best at {best['ternary']:g} (ternary), {best['float']:g} (float); from "
               f"{rows[0]['rate']:g} to its best ternary's excess falls to 1/{gains['ternary']:.1f}, float's "
               f"to 1/{gains['float']:.1f}", scale,
               differs=best["ternary"] <= best["float"])
    for r in rows:
        here = "; ".join(f"{arm} {', '.join(f'{e:.1f}' for e in r[arm])}" for arm in ARMS)
        yield Line(f"rate {r['rate']:g}", f"{here} nats a story above the floor", scale)
    yield "With clipping and warm-up, as models are trained; without them: b1-fig-5."


def draw_own_rates(result, path):
    """The excess of both arms over the rate."""
    series = {arm: {r["rate"]: spread(r[arm]) for r in result["rows"]} for arm in ARMS}
    return plotting.points(series, "learning rate", "excess (nats a story)", path)


# ---- [bitnet] Fig. 5: who survives a large learning rate

def large_rates(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each rate the training losses of both arms, without clipping and warm-up"""
    def losses(arm, lr, seed):
        return in_stretches(run(arm, RATE_WIDTH, lr, RATE_STEPS, seed, clip=0.0, warmup=1,
                                schedule="cosine").losses)
    rows = [{"rate": lr, **{arm: [losses(arm, lr, seed) for seed in seeds] for arm in ARMS}}
            for lr in progress(RATES)]
    return {"config": {"text": "pets", "width": RATE_WIDTH, "steps": RATE_STEPS, "seeds": list(seeds)},
            "rows": rows}


def in_stretches(losses, n=20):
    """The losses of all steps -> means of n stretches, as far as there are steps."""
    return [float(sum(some) / len(some)) for some in np.array_split(losses, n) if len(some)]


def large_rates_in_words(result):
    """A line for every rate."""
    rows, config = result["rows"], result["config"]
    scale = (f"pets, width {config['width']}, {config['steps']} steps, no clipping, no warm-up, "
             f"{in_seeds(config)}")
    ends = {r["rate"]: {arm: [end(losses) for losses in r[arm]] for arm in ARMS} for r in rows}
    lowest = {arm: min((mean_of(of[arm]), rate) for rate, of in ends.items())[1] for arm in ARMS}
    better = [f"{rate:g}" for rate, of in ends.items() if mean_of(of["ternary"]) < mean_of(of["float"])]
    yield Line("BitNet trains at rates where FP16 diverges, and gains from them",
               f"best rates {lowest['ternary']:g} (ternary), {lowest['float']:g} (float); ternary ends below "
               f"float at {', '.join(better) or 'none'}", scale,
               differs=lowest["ternary"] <= lowest["float"])
    for r in rows:
        here = (f"{arm} " + ", ".join(f"{end(losses):.2f}{' (rises)' * rises(losses)}" for losses in r[arm])
                for arm in ARMS)
        yield Line(f"rate {r['rate']:g}", f"training loss at the end: {'; '.join(here)}", scale)


EXPERIMENTS = {
    "by_size": Experiment(by_size, by_size_in_words, partial(by_size, SEEDS), draw_by_size),
    "own_rates": Experiment(own_rates, own_rates_in_words, partial(own_rates, SEEDS), draw_own_rates),
    "large_rates": Experiment(large_rates, large_rates_in_words, full=partial(large_rates, SEEDS)),
}
