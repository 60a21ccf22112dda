"""The few calls of a notebook or a script:  model = minibitnet.load("runs/tiny");
print(model.generate("The "))"""
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import NonFiniteError, UsageError, UserError
from .exact import total
from .formats import checkpoint as checkpoints
from .formats import packed
from .formats.rundir import RunDirectory, tokenizer_sha256
from .inference.cache import KINDS
from .inference.cache import caches as caches_of
from .inference.integer import IntegerModel
from .inference.packed_engine import PackedModel
from .inference.sampling import check_sampling, decode
from .inference.scoring import finite, surprisal
from .nn import ops
from .nn.autograd import Tensor
from .nn.config import ModelConfig
from .nn.model import Transformer
from .nn.training import TrainConfig
from .options import from_json
from .text.tokenizer import load_tokenizer

ENGINES = ("float", "packed", "integer")


class FloatEngine:
    """The training model, running: weights quantized once, products of whole-number codes in float32."""
    logit_scale = 1.0

    def __init__(self, transformer):
        self.running, self.config = transformer.quantized(), transformer.config

    def new_caches(self, batch=1):
        return caches_of(self.config, batch)

    @finite
    # (B, T) int -> logits (V, B, T), or of the last token alone
    def __call__(self, ids, caches=None, last=False):
        x = self.running.encode(ids, caches)
        return self.running.score(Tensor(x.data[..., -1:].copy()) if last else x).data


class LanguageModel:
    """A trained model that only runs: ``logits``, ``generate``, ``stream``; ``tokenizer``, ``config``
    (ModelConfig) and ``settings`` (the run's config.json), ``step`` that it was trained to, ``path`` of the
    file that it was read from. ``engine`` maps ids (B, T) to logits (V, B, T), which times ``logit_scale``
    are nats."""

    def __init__(self, engine: Any, tokenizer: Any, settings: dict[str, Any], step: int = 0,
                 path: Path | None = None) -> None:
        self.engine, self.tokenizer, self.settings = engine, tokenizer, settings
        self.step, self.path = step, path
        self.config, self.logit_scale, self.new_caches = engine.config, engine.logit_scale, engine.new_caches
        # what a document begins and ends with
        self.begin = tokenizer.end if settings["corpus"].get("documents") else None

    def logits(self, ids: ArrayLike) -> NDArray:
        """(T,) token ids -> (T, vocab_size): row t scores the token after ids[:t + 1]. float32, or of the
        integer engine int32."""
        ids = self._checked(ids)
        if len(ids) > self.config.context:
            raise UserError(f"{len(ids):,} token ids: expected at most the context of "
                            f"{self.config.context:,}")
        return self.engine(ids[None])[:, 0].T

    def loss(self, ids: NDArray, targets: NDArray) -> float:
        """Two (B, T) -> mean nats per target; a target below 0 is none."""
        logits = self.engine(ids)
        loss = float(ops.cross_entropy.forward(logits if self.logit_scale == 1 else logits
                                               * np.float32(self.logit_scale), targets))
        if not math.isfinite(loss):                                  # finite logits may be too far apart
            raise NonFiniteError(f"the loss is {loss}: expected a number; are the model's gains or "
                                 f"embeddings off?")
        return loss

    def stream(self, prompt: str, tokens: int = 200, *, temperature: float = 0.8, top_k: int = 0,
               top_p: float = 1.0, seed: int = 0, stop: str = "") -> Iterator[str]:
        """Yield the continuation of the text prompt piece by piece, of at most ``tokens`` tokens, up to the
        text ``stop`` if there is one. A model that was trained on documents takes the prompt, which may be
        empty, for the beginning of one and stops where it ends. When the context is full, its newest half
        is kept."""
        check_sampling(temperature, top_k, top_p, seed)
        if not (isinstance(tokens, Integral) and tokens >= 1):
            raise UserError(f"tokens = {tokens!r}: expected a count, at least 1")
        if not (isinstance(prompt, str) and isinstance(stop, str)):
            raise UserError(f"prompt = {prompt!r}, stop = {stop!r}: expected two texts (stop may be empty: "
                            f"none)")
        ids = self._checked(self.encode(prompt))
        text_of, held = self.tokenizer.decode_stream(), ""
        for i in decode(self.engine, ids, tokens, temperature=temperature, top_k=top_k, top_p=top_p,
                        seed=seed):
            if i == self.begin:
                break
            held += text_of(i)
            if stop and stop in held:
                yield held[:held.index(stop)]
                return
            # perhaps the beginning of stop
            open_end = max((n for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
            yield held[:len(held) - open_end]
            held = held[len(held) - open_end:]
        if held:
            yield held

    def encode(self, text: str) -> NDArray:
        """Token ids of a text that begins a document, with the document's begin token where the model knows
        documents."""
        ids = self.tokenizer.encode(text)
        return ids if self.begin is None else np.concatenate([np.array([self.begin], ids.dtype), ids])

    def log_likelihoods(self, context: str, continuations: Sequence[str]) -> NDArray:
        """log p(continuation | context) in nats, of each. Both are tokenized together; the continuation's
        tokens are those from the first on that context alone does not have. What exceeds the model's
        context is cut off on the left."""
        alone, rows = self.encode(context), [self.encode(context + text) for text in continuations]
        if self.begin is None and not len(alone):
            raise UserError("an empty context: expected text, for this model was not trained on documents "
                            "and cannot begin one")
        kept = [row[-self.config.context - 1:] for row in rows]
        ids, targets = np.zeros((2, len(rows), max(map(len, kept)) - 1), np.int64)
        targets -= 1                                                 # no target, but for
        for row, last, padded_ids, padded_targets in zip(rows, kept, ids, targets):
            given = next((i for i, (a, b) in enumerate(zip(alone, row)) if a != b), min(len(alone), len(row)))
            n = min(max(1, len(row) - given), len(last) - 1)         # the continuation's
            padded_ids[:len(last) - 1] = last[:-1]
            padded_targets[len(last) - 1 - n:len(last) - 1] = last[-n:]
        return -total(np.where(targets >= 0, self.nats(ids, targets), 0), 1)[:, 0]

    def nats(self, ids: NDArray, targets: NDArray) -> NDArray:
        """Two (B, T) -> -log p(target | the ids up to its place), (B, T) float64; of a target below 0 a
        number without meaning."""
        return surprisal(self.engine(ids) * np.float64(self.logit_scale), np.maximum(targets, 0))

    def along(self, text: str) -> tuple[NDArray, NDArray]:
        """Where a document costs what -> (nats of each token, where each ends in the text, in characters),
        its end token last. Beside ``stories.entropy.along``: on average over fresh documents no model's
        cumulative sums are below those."""
        ids = np.append(self._checked(self.encode(text)),
                        [] if self.begin is None else [self.begin]).astype(np.int64)
        if len(ids) > self.config.context + 1:
            raise UserError(f"{len(ids) - 1:,} tokens: expected at most the context of "
                            f"{self.config.context:,}")
        text_of = self.tokenizer.decode_stream()
        return self.nats(ids[None, :-1], ids[None, 1:])[0], np.cumsum([len(text_of(i)) for i in ids[1:]])

    def generate(self, prompt: str, tokens: int = 200, **sampling: Any) -> str:
        """The continuation of the text prompt, as text; keywords as in ``stream``."""
        return "".join(self.stream(prompt, tokens, **sampling))

    def _checked(self, ids):
        expected = f"expected integers from 0 to {self.config.vocab_size - 1}"
        try:
            ids = np.asarray(ids)
        except ValueError:                           # NumPy's word for lists of unequal lengths
            raise UserError(f"token ids in lists of unequal lengths: {expected} in one list") from None
        if ids.ndim != 1 or not ids.size:
            raise UserError(f"expected at least one token id, got "
                            f"{'an empty prompt' if not ids.size else f'shape {ids.shape}'}")
        if ids.dtype.kind not in "iu":
            raise UserError(f"token ids of type {ids.dtype}: {expected}")
        if ids.min() < 0 or ids.max() >= self.config.vocab_size:
            raise UserError(f"token ids from {ids.min()} to {ids.max()}: {expected}")
        return ids


def load(path: str | os.PathLike, engine: Literal["float", "packed", "integer"] = "float",
         checkpoint: Literal["last", "best"] = "last", warn: Callable[[str], Any] = warnings.warn,
         threads: int = 1, kv_bits: Literal[32, 16, 8, 4] = 32) -> LanguageModel:
    """Read the model of a run directory. engine: "float" runs a checkpoint, "last" (prev.safetensors where
    that is damaged: warn(text) says so) or "best", the lowest validation loss; "packed" and "integer" run
    packed.safetensors, whatever it was made from. threads: of the packed engine, for its large products;
    kv_bits: of its key-value cache, 32, 16, 8 or 4."""
    if not isinstance(kv_bits, Integral) or kv_bits not in KINDS:
        raise UserError(f"kv_bits = {kv_bits!r}: expected {', '.join(map(str, KINDS))}")
    if not (isinstance(threads, Integral) and threads >= 1):
        raise UserError(f"threads = {threads!r}: expected a count, at least 1")
    if engine not in ENGINES or checkpoint not in ("last", "best"):
        raise UserError(f"engine {engine!r}, checkpoint {checkpoint!r}: expected one of "
                        f"{', '.join(ENGINES)}, and last or best")
    if kv_bits != 32 and engine != "packed":
        raise UsageError(f"--kv-bits {kv_bits} with the {engine} engine: expected --engine packed (the float "
                         "engine's cache has 32 bits, the integer engine's 8)")
    if engine != "float" and checkpoint != "last":
        raise UsageError(f"--engine {engine} runs packed.safetensors: expected no --checkpoint (pack "
                         f"--checkpoint {checkpoint} packs that one)")
    run = run_at(path)
    if engine == "float":
        if run.packed.exists() and not any(map(Path.exists, (run.last, run.prev, run.best))):
            raise UserError(f"{run.path} has no checkpoint (last.safetensors), only packed.safetensors: "
                            f"expected the engine packed or integer "
                            f"(--engine packed, or engine='packed'), which runs that one")
        saved, path_read = latest(run, checkpoint, warn)
        running, config, step = FloatEngine(model_of(saved, path_read)), saved.config, saved.step
    else:
        if not run.packed.exists():
            if run.last.exists():
                saved, path_read = latest(run, warn=warn)
                c = from_json(ModelConfig, saved.config["model"], path_read)
                if not c.variant.has_codes:
                    raise UserError(f"{run.path} is a run with linear = {c.linear!r}: expected ternary or "
                                    f"binary weights for the {engine} engine")
            raise UserError(f"{run.packed} is not there: expected a packed model (python -m minibitnet.pack "
                            f"--model {run.path} makes it)")
        path_read = run.packed
        def parse(config):
            return from_json(ModelConfig, config["model"], path_read)
        config, step, c, matrices, arrays = packed.load(path_read, parse)
        said = run.settings()
        same = isinstance(said, dict) and all(said.get(part) == config[part] for part in config)
        if not (said is None or same):
            raise UserError(f"{path_read} is of another run than {run.path / 'config.json'}: expected the "
                            f"same configuration (python -m "
                            f"minibitnet.pack --model {run.path} makes it anew)")
        if engine == "packed":
            running = PackedModel(c, matrices, arrays, threads, kv_bits)
        else:
            running = IntegerModel(c, matrices, arrays)
    tokenizer = tokenizer_of(run, running.config.vocab_size, config["corpus"])
    train = from_json(TrainConfig, config["train"], path_read)
    return LanguageModel(running, tokenizer, {"model": config["model"], "train": asdict(train),
                                              "corpus": {"name": "", "sha256": ""} | config["corpus"]},
                         step, path_read)


def run_at(path):
    """The RunDirectory at a path; UserError where there is none."""
    run = RunDirectory(path)
    if run.path.is_file() and run.path.suffix == ".safetensors":
        raise UserError(f"{run.path} is a file: expected the directory of its run, of which an engine runs "
                        f"the last, the best or the packed one "
                        f"(float16.safetensors only shows the size of the papers' baseline)")
    if not run.path.is_dir():
        raise UserError(f"{run.path} is {'not a directory' if run.path.exists() else 'not there'}: expected "
                        f"the directory of a run "
                        f"(python -m minibitnet.train --tiny makes runs/tiny)")
    return run


def latest(run, checkpoint="last", warn=warnings.warn):
    """A RunDirectory's newest good checkpoint, or its best -> (Checkpoint, its path)."""
    saved, path, note = checkpoints.load_latest(*((run.best,) if checkpoint == "best"
                                                  else (run.last, run.prev)))
    if note:
        warn(note)
    return saved, path


def tokenizer_of(run, vocab_size, corpus):
    """A RunDirectory's tokenizer; UserError where its model was trained with another one. corpus: that part
    of the run's config."""
    path = run.path / "tokenizer.json"
    tokenizer = load_tokenizer(path)
    if tokenizer.vocab_size != vocab_size:
        raise UserError(f"{path} has {tokenizer.vocab_size:,} tokens, the model has {vocab_size:,}: the two "
                        f"are not from one run")
    expected = corpus.get("tokenizer_sha256")                        # early runs have none
    if expected is not None and tokenizer_sha256(tokenizer) != expected:
        raise UserError(f"{path} is not the tokenizer that the model was trained with (its sha256 differs): "
                        f"the two are not from one run")
    return tokenizer


def model_of(saved, path):
    """A Transformer with the parameters of a Checkpoint; path is for messages."""
    transformer = Transformer(from_json(ModelConfig, saved.config["model"], path))
    checkpoints.copy_into({name: p.data for name, p in transformer.parameters().items()}, saved.parameters,
                          path)
    return transformer
