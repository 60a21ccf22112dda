"""The key-value cache at 16, 8 and 4 bits:  bytes, the longest context that a budget holds, and what it does
to a trained model's loss.

[b158] §4: activations of 8 bits double the context in the same memory, and may lose nothing at 4 bits or
fewer. Average scores with a cache of 4 bits stand in [faq] and in [a48] Table 3.

Each head of each token has a scale of its own. The model was trained without any of this. Its loss with each
cache is compared with the loss with a cache of float32, window by window: d is the difference of a window's
nats, n its targets, W the number of windows, and

    difference = sum d / sum n,     standard error = sqrt(W / (W - 1) sum (d - n difference)^2) / sum n.
"""
import hashlib

import numpy as np

from ..api import load
from ..errors import UserError
from ..inference.cache import KINDS, caches
from ..inference.scoring import surprisal
from ..nn.config import ModelConfig
from . import paper
from ..measure.held_out import text_to_score
from .lines import Experiment, Line

BATCH, BUDGET = 16, 2**30            # sequences at a time; bytes
MOST_TARGETS = 100_000               # of the quick form, the widest windows first
TRAIN_AGAIN = "python -m minibitnet.train --tiny makes runs/tiny anew"


def quick(model="runs/tiny", data=None):
    """The trained model of a run directory (python -m minibitnet.train --tiny makes runs/tiny), on what it
    has not seen of its corpus, or on the corpus data."""
    return measure_model(model, data, MOST_TARGETS)


def full(progress=iter, model="runs/tiny", data=None):
    """The same on all of the text."""
    return measure_model(model, data, None, progress)


def measure_model(model, data, most_targets, progress=iter):
    """-> {"config", "memory": {"the trained model": {bits: bytes a token}}, and what ``measure`` finds}"""
    trained = load(model)
    with open(trained.path, "rb") as f:      # where the newest checkpoint is damaged, it is the one before
        weights = hashlib.file_digest(f, "sha256").hexdigest()
    corpus, split, part, _ = text_to_score(trained, data, hint=TRAIN_AGAIN)
    losses = measure(trained, progress(part.all(BATCH)), most_targets)
    config = {
        "model": str(model),
        "trained_with": trained.settings["model"] | trained.settings["train"],
        "weights_sha256": weights,
        "step": trained.step,
        "corpus": corpus.name,
        "corpus_sha256": corpus.sha256,
        "split": split,
        "head_dim": trained.config.head_dim,
        "most_targets": most_targets,
        "batch": BATCH,
        "budget": BUDGET,
    }
    memory = {str(bits): bytes_per_token(trained.config, bits) for bits in KINDS}
    return {"config": config, "memory": {"the trained model": memory}, **losses}


def bytes_per_token(c, bits):
    """Of a cache as it is, in all layers."""
    one = ModelConfig(d_model=c.d_model, n_heads=c.n_heads, n_kv_heads=c.n_kv_heads, context=1)
    return c.n_layers * KINDS[bits](one).nbytes


def measure(model, batches, most_targets=None):
    """-> {"targets", "windows", "losses": {bits: {"loss", "difference" (from 32 bits), "standard_error"}}}"""
    of_windows, counts = {bits: [] for bits in KINDS}, []            # nats; targets
    for ids, targets in batches:
        if most_targets and sum(counts) >= most_targets:
            break
        counts += (targets >= 0).sum(1).tolist()
        for bits in KINDS:
            of_windows[bits] += nats_of_windows(model, ids, targets, bits)
    if len(counts) < 2:
        raise UserError(f"a text of {len(counts)} windows has no standard error: expected at least 2, of a "
                        "longer text")
    n, exact = np.array(counts), np.array(of_windows[32])
    rows = {}
    for bits in KINDS:
        loss = sum(of_windows[bits]) / sum(counts)
        rows[str(bits)] = difference(np.array(of_windows[bits]) - exact, n) | {"loss": loss}
    return {"targets": int(n.sum()), "windows": len(n), "losses": rows}


def nats_of_windows(model, ids, targets, bits):
    """Two (B, T) -> the nats of each of the B rows.

    Keys and values go through the cache, as they do token by token.
    """
    logits = model.engine(ids, caches(model.config, len(ids), bits))
    return [float(surprisal(logits[:, b, row >= 0], row[row >= 0]).sum()) for b, row in enumerate(targets)]


def difference(d, n):
    """Differences of windows in nats, their targets -> the mean over targets and its standard error."""
    mean, W = d.sum() / n.sum(), len(d)
    error = np.sqrt(W / (W - 1) * np.square(d - n * mean).sum()) / n.sum()
    return {"difference": float(mean), "standard_error": float(error)}


def in_words(r):
    """A line for every number of bits, of losses and of bytes (of the papers' shapes: ``capacity.py``)."""
    c, changes = r["config"], score_changes()
    scores = f"average scores change by {min(changes):+.2f} to {max(changes):+.2f}"
    scale = (f"{c['model']}, {c['head_dim']} numbers a head; {c['corpus']}, {c['split']}: "
             f"{r['targets']:,} tokens, {r['windows']:,} windows")
    losses = {"4": f"no loss: {scores}", "8": "no loss", "16": "the loss of 16 bits"}
    for bits, claim in losses.items():
        row = r["losses"][bits]
        change = f"{row['difference']:+.5f} ± {row['standard_error']:.5f} nats a token beside float32"
        yield Line(f"cache of {bits} bits: {claim}", f"loss {row['loss']:.4f}: {change}", scale,
                   differs=row["difference"] > 2 * row["standard_error"])
    by = r["memory"]["the trained model"]
    contexts = {4: "four times the context", 8: "twice the context", 16: "the context of 16 bits"}
    for bits, claim in contexts.items():
        nbytes, longer = by[str(bits)], by["16"] / by[str(bits)]
        scale = ", a 16-bit scale for each head and token included" * (bits < 16)
        here = f"{longer:.2f} x: {nbytes:,} bytes a token, {c['budget'] // nbytes:,} tokens in 1 GiB"
        yield Line(f"cache of {bits} bits: {claim}", here, f"{c['model']}: counted from the arrays{scale}",
                   differs=longer < 16 / bits)
    error = paper.table("a48_text").rows["error of an average score, Table 1"]["Value"]
    four = r["losses"]["4"]
    errors = four["difference"] / max(four["standard_error"], 1e-12)
    yield (f"4 bits: {errors:+.1f} standard errors. The model was not trained with such a cache. The papers "
           f"report average scores, whose error of {error} would not show a change as small as this one.")


def score_changes():
    """What a cache of 4 bits does to the papers' average scores."""
    faq, a48 = paper.table("faq_text").rows, paper.table("a48_table_3").rows
    in_faq = [float(row["4 bits"]) - float(row["16 bits"]) for row in faq.values()]
    in_a48 = [float(a48["w/ 4-bit KV", size]["Avg"]) - float(a48["BitNet a4.8", size]["Avg"])
              for size in ("3B", "7B")]
    return in_faq + in_a48


EXPERIMENTS = {"kv_cache": Experiment(quick, in_words, full=full)}
