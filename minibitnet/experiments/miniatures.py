"""The trained rows in miniature: seconds on *pets*, a language of one line whose entropy is known by hand.

A miniature shows which way a claim points at this size, and no more; live with one seed, in full with three.
The plan's runs, on stories and on real text, are what the claims need: data/results/trained.md.
"""
import math
from functools import cache, partial

import numpy as np

from ..data_files import packaged
from ..errors import NonFiniteError
from ..measure import held_out
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from ..nn.optim import AdamW
from ..nn.training import Recorder, TrainConfig, train, with_defaults
from ..text.batches import parts
from ..text.corpora import load_corpus, texts
from ..text.streams import token_stream
from ..text.tokenizer import make_tokenizer
from ..threads import available_cpus
from .lines import Experiment, Line
from .stability import end, rises
from .uncertainty import interval, mean_of, pooled

ARMS, SEEDS = ("ternary", "float"), (0, 1, 2)
CONTEXT, LAYERS, HEADS, BATCH = 80, 2, 2, 8
WIDTHS, STEPS, RATE = (16, 32, 64), 150, 0.008        # of width 32; it falls with the root of the width
RATES, RATE_STEPS, RATE_WIDTH = (0.01, 0.04, 0.16, 0.64), 80, 32


@cache
def pets():
    """-> (tokenizer, training Part, validation Part)"""
    corpus = load_corpus(str(packaged("pets.txt")))
    tokenizer = make_tokenizer("char", texts(corpus), corpus.has_documents)
    return tokenizer, *parts(token_stream(corpus, tokenizer), CONTEXT, 0.1)


def run(arm, d, lr, steps, seed=0, **options):
    """Train a small model on pets -> {"losses" of every step, "excess": nats a story above the floor}; excess
    is None where the loss was no number."""
    tokenizer, training, validation = pets()
    config = ModelConfig(vocab_size=tokenizer.vocab_size, linear=arm, d_model=d, n_layers=LAYERS,
                         n_heads=HEADS, context=CONTEXT)
    c = with_defaults(TrainConfig(data="pets", lr=lr, steps=steps, batch=BATCH, seed=seed, eval_every=steps,
                                  log_every=1, **options), config)
    model = Transformer(config, seed)
    recorder = Recorder(None, {}, validation, validation.count_bytes(tokenizer),
                        floor=held_out.floor(validation, tokenizer))
    try:
        train(model, AdamW(model.parameters(), c.beta1, c.beta2), c, training, recorder,
              threads=available_cpus())
    except NonFiniteError:
        return {"losses": [line["loss"] for line in recorder.lines], "excess": None}
    last = recorder.lines[-1]
    return {"losses": [line["loss"] for line in recorder.lines],
            "excess": validation.per_document(last["val_loss"] - last["floor"])}


# ---- [b158] Table 1: the gap to full precision by size

def by_size(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each width the excess of both arms, nats a story, of each seed}"""
    rows = [{"d": d, **{arm: [run(arm, d, RATE * math.sqrt(32 / d), STEPS, seed)["excess"] for seed in seeds]
                        for arm in ARMS}} for d in progress(WIDTHS)]
    return {"config": {"text": "pets", "steps": STEPS, "rate": RATE, "seeds": list(seeds)}, "rows": rows}


def by_size_in_words(result):
    """A line for every width."""
    rows, config = result["rows"], result["config"]
    gaps = [gap(r) for r in rows]
    scale = f"pets, {config['steps']} steps, {in_seeds(config)}, one rate for both"
    mean, half = gaps[-1]
    yield Line("ternary reaches full precision's perplexity from 3B on",
               f"ternary is worse by {in_words(*gaps[0])} nats a story at width {rows[0]['d']}, by "
               f"{in_words(mean, half)} at width {rows[-1]['d']}", scale, differs=mean > (half or 0))
    for r in rows:
        ternary, full = (", ".join(f"{e:.2f}" for e in r[arm]) for arm in ARMS)
        here = f"{ternary} nats a story above the floor; float {full}"
        yield Line(f"width {r['d']}", here, scale)
    yield ("± is a 95 % interval of the seeds. At the largest width both arms have nearly learnt the "
           "language, so no gap could be large there. The arms share a learning rate here, which is fair to "
           "neither; in the plan each has its own (data/results/trained.md).")


def gap(row):
    """Excess of ternary less that of float, seed by seed -> (mean, half of its 95 % interval or None)"""
    each = [a - b for a, b in zip(row["ternary"], row["float"], strict=True)]
    return interval(each, *pooled([each]))


def in_words(mean, half):
    """A mean and its interval."""
    return f"{mean:.1f}" + (f" ± {half:.1f}" if half is not None else "")


# ---- [bitnet] Fig. 5: who survives a large learning rate

def large_rates(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each rate the training losses of both arms, without clipping and warm-up"""
    def losses(arm, lr, seed):
        return in_stretches(run(arm, RATE_WIDTH, lr, RATE_STEPS, seed, clip=0.0, warmup=1,
                                schedule="cosine")["losses"])
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
        words = (f"{arm} " + ", ".join(f"{end(losses):.2f}{' (rises)' * rises(losses)}" for losses in r[arm])
                 for arm in ARMS)
        yield Line(f"rate {r['rate']:g}", f"training loss at the end: {'; '.join(words)}", scale)


def in_seeds(config):
    """How many, in words."""
    n = len(config["seeds"])
    return f"{n} seeds" if n > 1 else "one seed"


EXPERIMENTS = {
    "by_size": Experiment(by_size, by_size_in_words, full=partial(by_size, SEEDS)),
    "large_rates": Experiment(large_rates, large_rates_in_words, full=partial(large_rates, SEEDS)),
}
