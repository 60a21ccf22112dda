"""One run of the plan, trained in a run directory, from which it can go on at any time; its outcome as JSON.

The outcome holds nothing that depends on the machine, so ``verify`` compares it to the last digit. What does
depend on it, the processor's seconds, stands beside.

    model_sha256    of the final parameters
    loss            nats a token over all validation targets; bits_per_byte: the same per byte of text
    excess          stories: nats a story above that story's own floor: mean, sd, n, and each story's
                    ("stories": int16 tenths, little-endian, base64), so that arms can be paired
    answers         stories: of each kind of question the items that were answered right, a bit each (hex)
    evaluations     other texts: the validation loss during the run
    series          over steps, means since the step before: loss, grad_norm; at that step: zeros, flips
                    (shares of the codes that are 0, and that the step changed)
    matrices        at steps 1, 2, 5, 10, ..: zeros and flips of each matrix
    weights         at the end: the quantiles of |W| / mean |W| of each matrix at QUANTILES, and the histogram
                    of W / mean |W| of all (HISTOGRAM)
    averages        of a run that keeps some: the excess of their models
    non_finite      the step whose loss was no number, if one was; then the rest is of the steps before it
"""
import base64
import copy
import math
import time
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data_files import packaged
from ..errors import NonFiniteError
from ..exact_functions import perplexity
from ..files import write_atomically
from ..formats import checkpoint
from ..formats.packed import is_bitlinear
from ..formats.rundir import RunDirectory, tokenizer_sha256
from ..language_model import FloatEngine, LanguageModel
from ..measure.trigram import trigram_loss
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from ..nn.optim import AdamW
from ..nn.ranks import ALONE
from ..nn.training import (Recorder, TrainConfig, code_statistics, in_shards, mean_loss, tokens_at_once,
                           train, with_defaults)
from ..quant import absmean_ternary
from ..stories import entropy, tasks, walk
from ..text.batches import Part, Windows, part_of, parts
from ..text.corpora import load_corpus, texts
from ..text.streams import documents_of, token_stream
from ..text.tokenizer import make_tokenizer
from ..threads import one_blas_thread, pool_of
from ..variants import RMS, VARIANTS, Variant
from . import energy
from .ablations import CHANGES
from .plan import CONTROL, HEADS, LAYERS, RECIPES, STORIES
from .replacing import added

HOME = Path("runs/trained")
MADE = {"training": (1, 12_000_000), "validation": (2, 1_090_000)}     # stories: seed, bytes
ITEMS, FIRST_TASK_SEED = 400, 1000     # questions of a kind; arms of one training seed answer the same
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
HISTOGRAM = 4, 10                      # W / mean |W| from -4 to 4, so many bins to one
SAVE_SECONDS = 120
OWN_VARIANTS = {CONTROL: Variant(None, (), RMS, RMS, lr=3e-3)}


class Material(NamedTuple):
    """A text to train on, ready."""
    name: str
    tokenizer: object
    training: Part
    validation: Part
    sha256: dict                       # of the texts and of the tokenizer
    floors: tuple                      # of each validation story, nats; empty where they are not known


@cache
def material(text, context):
    """The Material of one of plan's texts. Stories are made here, once; another text must have been
    fetched."""
    _, options = RECIPES[text]
    if text != STORIES:
        corpus = load_corpus(text)
        tokenizer = make_tokenizer(options["tokenizer"], texts(corpus), corpus.has_documents)
        training, validation = parts(token_stream(corpus, tokenizer), context, 0.1)
        return Material(text, tokenizer, training, validation,
                        {"text": corpus.sha256, "tokenizer": tokenizer_sha256(tokenizer)}, ())
    small = load_corpus(str(packaged("stories.txt")))
    tokenizer = make_tokenizer(options["tokenizer"], texts(small), True)       # one vocabulary for all runs
    corpora = {part: load_corpus(str(made(*MADE[part]))) for part in MADE}
    training, validation = (firsts(part_of(token_stream(c, tokenizer), context)) for c in corpora.values())
    assert np.diff(validation.stream.starts).max() < context, "a validation story is cut"
    floors = tuple(entropy.of_document(tokenizer.decode(story)) for story in documents_of(validation.stream))
    return Material(text, tokenizer, training, validation,
                    {part: c.sha256 for part, c in corpora.items()}
                    | {"tokenizer": tokenizer_sha256(tokenizer)}, floors)


def made(seed, size):
    """The path of a text of stories."""
    path = HOME / f"stories-{seed}.txt"
    data = None if path.is_file() else walk.corpus(seed, size).encode("utf-8")
    if data:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, [data], len(data))
    return path


def facts():
    """What the stories are made of: the result of data/results/stories-text.json."""
    context = RECIPES[STORIES][0]["context"]
    m = material(STORIES, context)
    n_tokens = m.validation.n_targets
    return {"config": {"made": MADE, "context": context}, "sha256": m.sha256,
            "training": {"stories": m.training.n_documents, "tokens": m.training.n_targets},
            "validation": {"stories": m.validation.n_documents, "tokens": n_tokens,
                           "nats_a_story": math.fsum(m.floors) / len(m.floors),
                           "nats_a_token": math.fsum(m.floors) / n_tokens},
            "trigram": float(trigram_loss(m.training.stream.tokens, m.validation.stream.tokens,
                                          m.tokenizer.vocab_size))}


def firsts(part):
    """A Part of stories without the windows that begin in the middle of one."""
    whole = np.isin(part.windows.starts, part.stream.starts)
    return part._replace(windows=Windows(*(a[whole] for a in part.windows)))


# ---- training

class Watch(Recorder):
    """A Recorder of means over stretches of steps, which saves and stops between two of them."""

    def __init__(self, *arguments, stretch, evaluates, report, **options):
        super().__init__(*arguments, **options)
        self.stretch, self.evaluates, self.tell = stretch, evaluates, report
        self.sums, self.saved_at = [], time.monotonic()

    def record(self, line, model, optimizer, c, before, after, pool, stop=False, ranks=ALONE):
        self.done = line["step"]
        self.sums.append((line["loss"], line["grad_norm"]))
        if self.done in detailed(c.steps) and after and len(after) == len(before):
            names = [name for name in model.parameters() if is_bitlinear(name)]
            each = {name: code_statistics([p], [q]) for name, p, q in zip(names, before, after)}
            self.keep({"step": self.done, **{f"zeros {name}": zeros for name, (zeros, _) in each.items()},
                       **{f"flips {name}": flips for name, (_, flips) in each.items()}})
        if self.done % self.stretch and self.done != c.steps:
            return
        losses, norms = zip(*self.sums)
        zeros, flips = code_statistics(before, after) if len(before) == len(after) else (None, None)
        self.keep({"step": self.done, "loss": math.fsum(losses) / len(losses),
                   "grad_norm": math.fsum(norms) / len(norms), "zero_fraction": zeros, "flip_rate": flips})
        self.sums = []
        if self.evaluates and (self.done % c.eval_every == 0 or self.done == c.steps):
            self.keep({"step": self.done, "val_loss": mean_loss(
                model.quantized().losses, self.validation, pool, tokens_at_once(c.batch, model.config))})
        if stop or self.done == c.steps or time.monotonic() - self.saved_at > SAVE_SECONDS:
            self.save("last", model, (optimizer.m, optimizer.v))
            self.saved_at = time.monotonic()
        self.tell(self.lines[-1])

    def keep(self, line):
        self.lines.append(line)
        self.run.log(line)


def detailed(steps):
    """The steps at which each matrix is looked at: 1, 2, 5, 10, 20, 50 .. and the last."""
    return {1, steps, *(k * 10**e for e in range(9) for k in (1, 2, 5) if k * 10**e <= steps)}


def carry_out(run, home=HOME, stopped=lambda: False, report=lambda line: None, finish=None):
    """Train a plan.Run in a folder of home, from where it stands -> its result for data/results/runs, or
    None where stopped() said so before the end. report(line) is called after every stretch of steps.
    finish(run, material, model, settings, lines, averages) makes its outcome: ``outcome_of``."""
    with added(VARIANTS, OWN_VARIANTS), one_blas_thread, CHANGES[run.change].apply(run) as averages:
        return _carry_out(run, home, stopped, report, averages, finish or outcome_of)


def _carry_out(run, home, stopped, report, averages, finish):
    sizes, options = RECIPES[run.text]
    sizes, options = dict(sizes), dict(options) | dict(run.train)
    m = material(run.text, sizes["context"])
    model_config = ModelConfig(vocab_size=m.tokenizer.vocab_size, linear=run.arm, d_model=run.d,
                               n_layers=LAYERS, n_heads=HEADS, **sizes)
    stretch = 10 if run.steps <= 600 else 50
    c = with_defaults(TrainConfig(data=run.text, lr=run.lr, steps=run.steps, seed=run.seed,
                                  eval_every=stretch * math.ceil(run.steps / 8 / stretch), **options),
                      model_config)
    settings = {"model": asdict(model_config), "train": asdict(c),
                "corpus": {"name": run.text, "sha256": m.sha256.get("training", m.sha256.get("text")),
                           "tokenizer_sha256": m.sha256["tokenizer"], "change": run.change}}
    directory = RunDirectory(home / run.name)
    saved = None
    if directory.configurations() == [settings] and not CHANGES[run.change].remembers:
        saved, _ = directory.resume(settings)
    else:
        directory.create(settings, m.tokenizer, overwrite=True)
    try:
        directory.cut_metrics(saved.step if saved else 0)
        model = Transformer(model_config, c.seed)
        optimizer = AdamW(model.parameters(), c.beta1, c.beta2)
        if saved:
            for ours, theirs in ((model.arrays(), saved.parameters), (optimizer.m, saved.m),
                                 (optimizer.v, saved.v)):
                checkpoint.copy_into(ours, theirs, directory.last)
            optimizer.t = saved.step
        watch = Watch(directory, settings, m.validation, 0, done=saved.step if saved else 0,
                      lines=directory.metrics(), stretch=stretch, evaluates=run.text != STORIES,
                      report=report)
        spent, began = directory.path / "cpu_seconds.txt", time.process_time()
        before, ended = float(spent.read_text(encoding="ascii")) if spent.exists() and saved else 0.0, None
        try:
            train(model, optimizer, c, m.training, watch,
                  stopped=lambda: (watch.done + 1) % stretch == 0 and stopped())
        except NonFiniteError:
            ended = watch.done + 1
        cpu_seconds = before + time.process_time() - began
        spent.write_text(repr(cpu_seconds), encoding="ascii")
        if watch.done < c.steps and not ended:
            return None
        outcome = ({"non_finite": ended, **of_lines(watch.lines)} if ended
                   else finish(run, m, model, settings, watch.lines, averages))
        return {"config": run._asdict(), "settings": settings, "sha256": m.sha256,
                "counts": counts(run, model),
                "cpu_seconds": round(before + time.process_time() - began, 1), "outcome": outcome}
    finally:
        directory.close()


def counts(run, model):
    """What a model is made of, and what it costs."""
    n_bytes, microjoules = energy.of_model(model.config)
    return {"matrices": run.matrices, "parameters": sum(a.size for a in model.arrays().values()),
            "bytes": n_bytes, "microjoules": microjoules}


# ---- what a trained model gives

def outcome_of(run, m, model, settings, lines, averages):
    """The outcome of a finished run."""
    check_causal(model, m)
    found = {"model_sha256": checkpoint.parameters_sha256(model.arrays())}
    if m.floors:
        nats = nats_of(model, m, settings)
        loss = math.fsum(nats) / m.validation.n_targets
        found["excess"] = above(nats, m.floors)
    else:
        with pool_of(1) as pool:
            loss = mean_loss(model.quantized().losses, m.validation, pool, tokens_of(model, settings))
    found |= {"loss": loss, "ppl": perplexity(loss), "bits_per_byte": m.validation.bits_per_byte(
        loss, m.validation.count_bytes(m.tokenizer))}
    if run.questions:
        found["answers"] = answers(LanguageModel(FloatEngine(model), m.tokenizer, settings, run.steps),
                                   FIRST_TASK_SEED + run.seed)
    found["weights"] = weights(model)
    if averages:
        found["averages"] = {
            str(decay): above(nats_of(with_weights(model, arrays), m, settings), m.floors)["mean"]
            for decay, arrays in averages.of.items()}
    return found | of_lines(lines)


def tokens_of(model, settings):
    """The tokens that may be read together."""
    return tokens_at_once(settings["train"]["batch"], model.config)


def check_causal(model, m):
    """AssertionError for a model whose logits hear of later tokens: its loss would count for nothing."""
    ids = m.validation.stream.tokens[None, :48].astype(np.int32)
    quantized = model.quantized()
    whole, begun = (quantized(ids[:, :n]).data for n in (48, 20))
    assert np.array_equal(whole[:, :, :20], begun), "a token's logits depend on later tokens"


def nats_of(model, m, settings):
    """-log p of each validation story."""
    return nats_of_stories(model.quantized().losses, m.validation, tokens_of(model, settings))


def with_weights(model, arrays):
    """A model like this one with other weights {name: array}."""
    other = copy.deepcopy(model)
    checkpoint.copy_into(other.arrays(), arrays, "the averages")
    return other


def nats_of_stories(losses, part, tokens, rows=16):
    """-log p of each document of a Part whose windows are its documents, in order."""
    nats = []
    with np.errstate(all="ignore"):
        for batch in part.all(rows):
            for ids, targets in in_shards(batch, tokens):
                each = np.float64(losses(ids, targets))
                ends = np.cumsum((targets >= 0).sum(1))
                nats += [math.fsum(each[start:end]) for start, end in zip([0, *ends], ends)]
    order = np.argsort(-part.windows.widths, kind="stable")              # of ``document_windows``
    return [nats[i] for i in np.argsort(order)]


def above(nats, floors):
    """Nats and floor of each story -> {"mean", "sd", "n", "stories"}"""
    excess = [a - b for a, b in zip(nats, floors)]
    n, mean = len(excess), math.fsum(excess) / len(excess)
    sd = math.sqrt(math.fsum((x - mean)**2 for x in excess) / (n - 1))
    tenths = np.clip(np.rint(np.multiply(excess, 10)), -2**15, 2**15 - 1).astype("<i2")
    return {"mean": mean, "sd": sd, "n": n, "stories": base64.b64encode(tenths.tobytes()).decode()}


def answers(model, seed):
    """{kind of question: a bit for each item that was answered right, in hex}"""
    found = {}
    for kind in tasks.KINDS:
        right = [is_right(model, item) for item in items(kind, seed)]
        found[kind] = np.packbits(right).tobytes().hex()
    return found


def is_right(model, item):
    """Is the choice that the model takes for likeliest the right one?"""
    return int(np.argmax(model.log_likelihoods(item.context, item.choices))) == item.gold


@cache
def items(kind, seed):
    """The questions of a kind."""
    return tasks.items(kind, seed, ITEMS)


def weights(model):
    """How the latent weights lie: in every arm in units of their matrix's mean magnitude."""
    limit, bins = HISTOGRAM
    quantiles, counted = {}, np.zeros(2 * limit * bins, int)
    for name, w in model.arrays().items():
        if is_bitlinear(name):
            unit = w / absmean_ternary(w)[1]
            ordered = np.sort(np.abs(unit), axis=None)
            quantiles[name] = [round(float(ordered[int(q * ordered.size)]), 4) for q in QUANTILES]
            places = np.clip(np.floor(unit * np.float32(bins)) + limit * bins, 0, counted.size - 1)
            counted += np.bincount(places.astype(int).ravel(), minlength=counted.size)
    return {"quantiles": quantiles, "histogram": counted.tolist()}


def of_lines(lines):
    """The lines of a run's metrics -> its series, evaluations and matrices. Rounded to what can be read off
    a picture: the model's sha256 stands for every digit."""
    series = [line for line in lines if "loss" in line]
    columns = {"step": "step", "loss": "loss", "grad_norm": "grad_norm", "zeros": "zero_fraction",
               "flips": "flip_rate"}
    found = {"series": {name: [short(line[key]) for line in series] for name, key in columns.items()
                        if series and any(line[key] is not None for line in series)}}
    if evaluations := [line for line in lines if "val_loss" in line]:
        found["evaluations"] = {key: [line[key] for line in evaluations] for key in ("step", "val_loss")}
    if looked := [line for line in lines if any(key.startswith("zeros ") for key in line)]:
        found["matrices"] = {"step": [line["step"] for line in looked]} | {
            kind: {key.removeprefix(f"{kind} "): [short(line[key]) for line in looked]
                   for key in looked[0] if key.startswith(f"{kind} ")} for kind in ("zeros", "flips")}
    return found


def short(number):
    """Five digits of it."""
    return number if isinstance(number, int | None) else float(f"{number:.5g}")
