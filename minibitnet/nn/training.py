"""Training: the configuration, one ``step``, the loop around it, and the ``Recorder`` of what it leaves."""
import math
import os
import time
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np

from ..errors import NonFiniteError
from ..exact import total
from ..exact_functions import perplexity
from ..formats import checkpoint
from ..options import check_choices, check_range, check_types, option
from ..threads import one_blas_thread, pool_of
from ..variants import VARIANTS
from .autograd import backward, record
from .optim import clip_global_norm, cosine, two_stage
from .ranks import ALONE

SHARD_TOKENS = 512     # tokens in a shard of the batch, about: its arrays then stay in a core's cache
FEW_LOGITS = 2**16     # so many of an evaluation's are no memory to speak of
AHEAD = 64             # batches of an evaluation that a pool is given at a time


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained, and on what; UserError for a value out of range."""
    data: str = option("stories", "stories, pets (sources of known entropy), pydoc (Python's help texts), a "
                       "fetched corpus (python -m minibitnet.data list) or the path of a UTF-8 text file")
    tokenizer: str = option("char", "char, byte, bpe:SIZE (SIZE tokens, learned from the corpus), or the "
                            "path of a tokenizer.json or rank file")
    steps: int = option(1000, "optimizer steps")
    batch: int = option(16, "sequences a step")
    lr: float = option(0.0, "peak learning rate; 0: chosen by --linear and --d-model")
    schedule: str = option("two-stage", "learning rate: linear with a drop at half time, or cosine",
                           choices=("two-stage", "cosine"))
    second_lr: float = option(0.0, "peak of the two-stage schedule's second half; 0: two thirds of lr")
    warmup: int = option(-1, "steps of linear warm-up; -1: a fiftieth of steps")
    weight_decay: float = option(0.1, "of the matrices; two-stage turns it off at half time")
    beta1: float = option(0.9, "AdamW's average of the gradient")
    beta2: float = option(0.95, "AdamW's average of its square")
    a8_share: float = option(0.95, "share of the steps that have 8-bit activations, with --linear a48 or v2")
    clip: float = option(1.0, "largest global gradient norm; 0: no clipping")
    seed: int = option(0, "of the initial weights and of the batches")
    val_fraction: float = option(0.1, "share of the corpus, its end, kept for validation")
    log_every: int = option(10, "steps between lines of metrics.jsonl")
    eval_every: int = option(0, "steps between evaluations; 0: a quarter of steps")
    save_every: int = option(0, "steps between checkpoints; 0: a tenth of steps")

    def __post_init__(self):
        check_types(self)
        check_choices(self)
        check_range(self, steps=(1, 10**9), batch=(1, 10**6), lr=(0, 1e9), second_lr=(0, 1e9),
                    warmup=(-1, 10**9), weight_decay=(0, 10), beta1=(0, 0.99999), beta2=(0, 0.99999),
                    a8_share=(0, 1), clip=(0, 1e9), seed=(0, 2**63), val_fraction=(0.001, 0.999),
                    log_every=(1, 10**9), eval_every=(0, 10**9), save_every=(0, 10**9))


def with_defaults(c, model_config):
    """The TrainConfig with a value for every 0 or -1 that means "choose for me"."""
    lr = c.lr or default_lr(model_config.linear, model_config.d_model)
    return replace(c, lr=lr, second_lr=c.second_lr or lr * 2 / 3,
                   warmup=c.warmup if c.warmup >= 0 else max(1, c.steps // 50),
                   eval_every=c.eval_every or math.ceil(c.steps / 4),
                   save_every=c.save_every or math.ceil(c.steps / 10))


def default_lr(linear, d_model):
    """The variant's, falling with the root of the width."""
    return VARIANTS[linear].lr * math.sqrt(128 / d_model)


def schedule(c, step):
    """-> (learning rate, weight decay) of one step, for a TrainConfig with defaults filled in."""
    if c.schedule == "cosine":
        return cosine(step, c.steps, c.warmup, c.lr), c.weight_decay
    weight_decay = c.weight_decay if step < c.steps // 2 else 0.0
    return two_stage(step, c.steps, c.warmup, c.lr, c.second_lr), weight_decay


def loss_and_gradients(quantized, ids, targets, pool, ranks=ALONE):
    """Mean loss over the batch's targets and its gradients {name: array}, by the parameters of the quantized
    model.

    The batch is cut into shards whose number depends on its shape alone, each differentiated on a thread of
    the pool of one of the ranks, and the gradients are summed in one tree over the shards (``ranks.py``): the
    result does not depend on the number of threads or ranks.
    """
    shards = zip(*(np.array_split(a, number_of_shards(*ids.shape)) for a in (ids, targets)))

    def differentiate(shard):
        shard_ids, shard_targets = shard
        weight = n_targets(shard_targets) / n_targets(targets)
        try:
            with np.errstate(all="ignore"), record() as tape:     # what overflows shows in loss or norm
                loss = quantized.loss(shard_ids, shard_targets)
                gradients = backward(tape, loss, seed=weight)
        except FloatingPointError:               # of this shard: the other ranks hear of it by the loss
            return math.nan, {name: np.zeros(getattr(p.data, "codes", p.data).shape, np.float32)
                              for name, p in parameters.items()}
        return float(loss.data) * weight, {name: gradients[p.key] for name, p in parameters.items()}

    parameters = quantized.parameters()
    shards = [shard for shard in shards if n_targets(shard[1])]            # padding alone has no mean loss
    mine = ranks.mine(len(shards))
    return ranks.total(len(shards), pool.map(differentiate, shards[mine.start:mine.stop]))


def number_of_shards(batch, context):
    """How many shards a batch (B, T) is cut into: a function of its shape alone."""
    return min(batch, max(2, batch * context // SHARD_TOKENS))


def most_threads(batch, context):
    """What a step can use is one for each shard, an evaluation any number: but of two of its threads, which
    keep nothing for a backward pass, the memory is that of one shard."""
    return 2 * number_of_shards(batch, context)


def tokens_at_once(batch, model_config):
    """The tokens that a thread of an evaluation may read together, so that it takes no more memory than one
    of the training with batches of so many sequences: a shard's, or so many that their logits are few."""
    shard = batch // number_of_shards(batch, model_config.context) * model_config.context
    return max(shard, min(SHARD_TOKENS, FEW_LOGITS // model_config.vocab_size))


def n_targets(targets):
    """How many targets count: those below 0 are padding."""
    return int(np.count_nonzero(targets >= 0))


def in_shards(batch, tokens):                    # ids, targets (B, T) -> [(ids, targets), ...] of rows
    """A batch cut into shards of at most so many tokens, but of one row at least."""
    rows = max(1, tokens // batch[0].shape[1])
    return list(zip(*(np.array_split(a, -(-len(a) // rows)) for a in batch)))


def mean_loss(losses, part, pool, tokens, rows=16, progress=iter, ranks=ALONE):
    """Nats per token over all targets of a Part of a corpus. losses(ids, targets) gives -log p of every
    target that counts, in order, as ``ops.losses``. progress wraps the iteration over batches of so many
    rows (tqdm, say). A batch is read by shards of at most so many tokens, and is one sum: memory depends on
    ``tokens``, the result on ``rows`` alone. Ranks take batches in turn."""
    def nats(batch):
        with np.errstate(all="ignore"):          # a pool's threads do not inherit the caller's
            try:
                each = np.concatenate([losses(*shard) for shard in in_shards(batch, tokens)])
            except FloatingPointError:           # of this rank's part
                return math.nan
            return float(total(each)[0] / each.dtype.type(len(each))) * len(each)

    def of_all():
        batches = islice(part.all(rows), ranks.rank, None, ranks.size)
        while some := list(islice(batches, AHEAD)):          # a pool would take them all, a whole corpus
            yield from pool.map(nats, some)
    return math.fsum(chain.from_iterable(ranks.numbers(list(progress(of_all()))))) / part.n_targets


def codes_of(quantized):
    """The codes of a quantized model, an array for each matrix that has some."""
    return [p.data.codes for p in quantized.parameters().values() if hasattr(p.data, "codes")]


def code_statistics(before, after):
    """Codes before and after a step -> (share of zeros after it, share that changed); None without codes."""
    size = sum(codes.size for codes in after)
    if not size:
        return None, None
    zeros = size - sum(np.count_nonzero(codes) for codes in after)
    return zeros / size, sum(np.count_nonzero(p != q) for p, q in zip(before, after)) / size


def has_eight_bits(c, step):
    """Is this one of the first stage's steps, in which activations have 8 bits? Nothing else changes between
    the stages, not even AdamW's averages; with a variant of 8 bits nothing at all.   [a48] §3, [v2] §3"""
    return step < c.a8_share * c.steps


def step(model, quantized, optimizer, batch, pool, *, lr, weight_decay, clip, eight_bits=False, ranks=ALONE):
    """One step of training -> (loss, norm of its gradient, the model quantized anew). quantized:
    ``model.quantized(training=True)``; batch: ids, targets (B, T); eight_bits: of the model that is made."""
    loss, gradients = loss_and_gradients(quantized, *batch, pool, ranks)
    norm = clip_global_norm(gradients, clip, ranks)
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise NonFiniteError(f"the loss is {loss}, the gradient norm {norm}; nothing was updated")
    # Straight through (ste.py): gradients by the quantized weights move the latent weights of the same names.
    optimizer.step(gradients, lr, weight_decay)
    ranks.spread({name: p.data for name, p in optimizer.parameters.items()})
    return loss, norm, model.quantized(training=True, eight_bits=eight_bits)


def train(model, optimizer, c, training, recorder, *, threads=1, stopped=lambda: False, ranks=ALONE):
    """Train from step ``recorder.done`` to c.steps on a Part of a corpus -> steps done, fewer than c.steps
    where stopped() of one of the ranks said so."""
    s = recorder.done
    try:
        threads = min(threads, most_threads(c.batch, training.context))
        with one_blas_thread, pool_of(threads) as pool, np.errstate(all="ignore"):    # it is refused below
            quantized = model.quantized(training=True, eight_bits=has_eight_bits(c, recorder.done))
            for s in range(recorder.done, c.steps):
                began, before = time.perf_counter(), codes_of(quantized)
                ids, targets = training.random(s, seed=c.seed, batch=c.batch)
                lr, weight_decay = schedule(c, s)
                loss, norm, quantized = step(model, quantized, optimizer, (ids, targets), pool, lr=lr,
                                             weight_decay=weight_decay, clip=c.clip,
                                             eight_bits=has_eight_bits(c, s + 1), ranks=ranks)
                line = {"step": s + 1, "tokens": (s + 1) * ids.size, "loss": loss, "ppl": perplexity(loss),
                        "lr": lr, "weight_decay": weight_decay, "grad_norm": norm,
                        "tokens_per_s": ids.size / (time.perf_counter() - began)}
                stop = ranks.any(stopped())
                recorder.record(line, model, optimizer, c, before, codes_of(quantized), pool, stop, ranks)
                if stop:
                    break
    except NonFiniteError as e:
        raise NonFiniteError(f"step {s + 1}: {e}, {recorder.kept}") from None
    except FloatingPointError as e:              # a quantizer met NaN or infinity
        raise NonFiniteError(f"step {s + 1}: {e}; nothing was saved, {recorder.kept}") from None
    return recorder.done


class Recorder:
    """What a run leaves behind: lines of metrics, evaluations, checkpoints.

    run: RunDirectory, or None for a run that leaves its ``lines`` alone. settings: what its checkpoints carry
    as config. validation: a Part of the corpus, whose targets stand for val_bytes bytes; floor: the least
    nats per token that any model could need for them, where that is known. done, best: steps and lowest
    validation loss so far, of a run that goes on. report(line) is called after every step, with the keys of a
    metrics line as far as they are known; progress wraps an evaluation's iteration over batches.
    """

    def __init__(self, run, settings, validation, val_bytes, *, floor=None, done=0, best=math.inf,
                 report=lambda line: None, progress=iter, lines=()):
        self.run, self.settings, self.report, self.progress = run, settings, report, progress
        self.validation, self.val_bytes, self.floor = validation, val_bytes, floor
        self.done, self.best, self.lines = done, best, list(lines)
        there = run and os.path.exists(run.last)
        self.kept = f"{run.last} holds step {done:,}" if there else "there is no checkpoint yet"

    def record(self, line, model, optimizer, c, before, after, pool, stop=False, ranks=ALONE):
        """After a step: log, evaluate and save where one is due. before, after: the codes around the step."""
        self.done = line["step"]
        log, evaluate, save = (self.done == c.steps or self.done % every == 0
                               for every in (c.log_every, c.eval_every, c.save_every))
        if log:
            line["zero_fraction"], line["flip_rate"] = code_statistics(before, after)
        if evaluate:
            line |= self.evaluate(model.quantized(), pool, tokens_at_once(c.batch, model.config), ranks)
            if line["val_loss"] < self.best:
                self.best = line["val_loss"]
                self.save("best", model, ranks=ranks)
        self.report(line)
        if log or evaluate:
            self.lines.append(line)
            if self.run:
                self.run.log(line)
        if save or stop:
            self.save("last", model, (ranks.whole(optimizer.m), ranks.whole(optimizer.v)), ranks)

    def evaluate(self, quantized, pool, tokens, ranks=ALONE):
        """The metrics of the validation text, read by so many tokens at once."""
        loss = mean_loss(quantized.losses, self.validation, pool, tokens, progress=self.progress, ranks=ranks)
        if not math.isfinite(loss):
            raise NonFiniteError(f"the validation loss is {loss}; nothing was saved")
        return {"val_loss": loss, "val_ppl": perplexity(loss), "floor": self.floor,
                "bits_per_byte": self.validation.bits_per_byte(loss, self.val_bytes)}

    def save(self, name, model, moments=None, ranks=ALONE):
        """The last or the best checkpoint; with the optimizer's moments (m, v) one to go on from, which keeps
        the one before it. (Of several ranks each looks at the numbers that it has, and one writes all.)"""
        parameters, (m, v) = {name: p.data for name, p in model.parameters().items()}, moments or ({}, {})
        if ranks.any(not all(np.isfinite(a).all() for arrays in (parameters, m, v) for a in arrays.values())):
            raise NonFiniteError("a weight or a moment is not finite; nothing was saved")
        if not self.run:
            return
        path, keep = getattr(self.run, name), self.run.prev if moments else None
        saved = checkpoint.Checkpoint(self.done, self.best, self.settings, parameters, m, v)
        checkpoint.save(path, saved, keep)
        if moments:
            self.kept = f"{path} holds step {self.done:,}"
