"""A trained language model: it writes, scores, shows what it is made of, and is kept."""
import functools
import math
import os
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import looking
from .errors import NonFiniteError, UsageError, UserError, brief
from .exact import total
from .files import check_space, directory_to_write
from .float16 import all_finite
from .formats import checkpoint, packed
from .formats.packed import FLOATS, pack
from .formats.rundir import RunDirectory
from .inference.cache import KINDS
from .inference.cache import caches as caches_of
from .inference.integer import IntegerModel
from .inference.packed_engine import PackedModel
from .inference.scoring import finite, in_nats, surprisal
from .interop import gguf_model, huggingface
from .nn import ops
from .nn.autograd import Tensor
from .shapes import same_shape, targets_of, token_ids
from .threads import MOST_THREADS, one_blas_thread
from .writing import Chat, drawing, written

ENGINES = ("float", "packed", "integer")


def alone(call):
    """The call, with BLAS held to one thread meanwhile."""
    @functools.wraps(call)
    def held(*arguments, **options):
        with one_blas_thread:
            return call(*arguments, **options)
    return held


class FloatEngine:
    """The training model, running: weights quantized once, products of whole-number codes in float32."""
    logit_scale = 1.0

    def __init__(self, transformer):
        self.transformer, self.config = transformer, transformer.config
        self.quantized = transformer.quantized()

    def new_caches(self, batch=1):
        return caches_of(self.config, batch)

    def __repr__(self):
        return f"<FloatEngine: {self.config.summary}>"

    @finite
    def __call__(self, ids, caches=None, last=False):      # (B, T) int -> logits (V, B, T); last: (V, B, 1)
        x = self.quantized.encode(ids, caches)
        return self.quantized.score(Tensor(x.data[..., -1:].copy()) if last else x).data


class LanguageModel:
    """A trained model: ``generate``, ``logits`` and ``loss`` run it, ``layers`` and ``trace`` look inside,
    ``pack`` and ``save`` keep it.

    ``tokenizer``, ``config`` (ModelConfig) and ``settings`` (the run's config.json), ``step`` that it was
    trained to, ``path`` of the file that it was read from; ``trained``: what the run that made it needs to go
    on, of a model that ``fit`` gave. ``engine`` maps ids (B, T) to logits (V, B, T), which times
    ``logit_scale`` are nats."""

    def __init__(self, engine: Any, tokenizer: Any, settings: dict[str, Any], step: int = 0,
                 path: Path | None = None) -> None:
        self.trained: Any = None
        self.engine, self.tokenizer, self.settings = engine, tokenizer, settings
        self.step, self.path = step, path
        self.config, self.logit_scale, self.new_caches = engine.config, engine.logit_scale, engine.new_caches
        self.begin, self.ends = begin_and_ends(settings["corpus"], tokenizer)

    def __repr__(self):
        return f"<LanguageModel: {self.config.summary}; step {self.step:,}, {type(self.engine).__name__}>"

    @alone
    def logits(self, ids: ArrayLike) -> NDArray:
        """(T,) token ids -> (T, vocab_size): row t scores the token after ids[:t + 1]. float32, or of the
        integer engine int32."""
        return self.engine(self._window(ids))[:, 0].T

    def loss(self, text: str) -> float:
        """Mean nats per token of a text of at most a context, as a document of its own where the model knows
        documents. (``python -m minibitnet.evaluate`` scores longer ones.)"""
        each, _ = self.along(text)
        return float(total(each)[0]) / len(each)

    def losses(self, ids: NDArray, targets: NDArray) -> NDArray:
        """Two (B, T) -> -log p, in nats, of every target that is not below 0, in order, in the float32 of
        training: ``ops.losses``."""
        ids, targets = self._pair(ids, targets)
        losses = ops.losses(in_nats(self.engine(ids), self.logit_scale), targets)
        if not np.isfinite(losses).all():                            # finite logits may be too far apart
            raise NonFiniteError("a token's loss is not finite: expected numbers; are the model's gains or "
                                 "embeddings off?")
        return losses

    def stream(self, prompt: str, tokens: int = 200, *, temperature: float = 0.8, top_k: int = 0,
               top_p: float = 1.0, seed: int | None = 0, stop: str = "") -> Iterator[str]:
        """Yield the continuation of the text prompt piece by piece, of at most ``tokens`` tokens, up to the
        text ``stop`` if there is one. A model that was trained on documents takes the prompt, which may be
        empty, for the beginning of one and stops where it ends. When the context is full, its newest half
        is kept.

        The same seed writes the same text, and so does the default; None draws anew at every call.
        temperature 0: always the likeliest token."""
        decode_from = drawing(self.engine, tokens, temperature=temperature, top_k=top_k, top_p=top_p,
                              seed=seed)
        if not isinstance(stop, str):
            raise UserError(f"stop = {stop!r}: expected a text (empty: none)")
        ids = self.encode(prompt)
        if not len(ids):
            raise UserError("an empty prompt: expected at least one token, for this model was not trained on "
                            "documents and cannot begin one")
        yield from written(decode_from(ids), self.tokenizer, self.ends, stop)

    def chat(self, system: str = "") -> Chat:
        """A conversation, of a model that was trained to have one: ``chat.say(text)`` yields the answer piece
        by piece (``writing.py`` has the template). system: what it is told beforehand."""
        return Chat(self, system)

    def encode(self, text: str) -> NDArray:
        """Token ids of a text that begins a document, with the document's begin token where the model knows
        documents."""
        if not isinstance(text, str):
            raise UserError(f"{repr(text)[:40]}: expected a text")
        ids = self.tokenizer.encode(text)
        return ids if self.begin is None else np.concatenate([np.array([self.begin], ids.dtype), ids])

    @alone
    def log_likelihoods(self, context: str, continuations: Sequence[str]) -> NDArray:
        """log p(continuation | context) in nats, of each. Both are tokenized together; the continuation's
        tokens are those from the first on that context alone does not have. What exceeds the model's
        context is cut off on the left."""
        in_a_list = isinstance(continuations, list | tuple)
        if not in_a_list or not all(isinstance(text, str) and text for text in continuations):
            raise UserError(f"continuations = {repr(continuations)[:60]}: expected texts in a list, none "
                            "empty")
        if not isinstance(context, str):
            raise UserError(f"context = {brief(context)}: expected a text")
        if not continuations:
            return np.zeros(0)
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
        each = [self.surprisal(ids[i:i + 1], targets[i:i + 1]) for i in range(len(ids))]   # a row's memory
        return -total(np.where(targets >= 0, np.concatenate(each), 0), 1)[:, 0]

    def surprisal(self, ids: NDArray, targets: NDArray) -> NDArray:
        """Two (B, T) -> -log p(target | the ids up to its place), (B, T) float64; of a target below 0 a
        number without meaning."""
        ids, targets = self._pair(ids, targets)
        return surprisal(self.engine(ids), np.maximum(targets, 0), self.logit_scale)

    @alone
    def along(self, text: str) -> tuple[NDArray, NDArray]:
        """Where a document costs what -> (nats of each token, where each ends in the text, in characters),
        its end token last. Beside ``stories.entropy.along``: on average over fresh documents no model's
        cumulative sums are below those."""
        ids = np.append(self.encode(text), self.ends[:1]).astype(np.int64)
        if len(ids) < 2:
            raise UserError(f"a text of {len(ids)} tokens: expected at least two, for the first one has "
                            "nothing before it")
        if len(ids) > self.config.context + 1:
            raise UserError(f"{len(ids) - 1:,} tokens: expected at most the context of "
                            f"{self.config.context:,}")
        text_of = self.tokenizer.decode_stream()
        return self.surprisal(ids[None, :-1], ids[None, 1:])[0], np.cumsum([len(text_of(i)) for i in ids[1:]])

    def layers(self) -> list[looking.Layer]:
        """Every BitLinear's name, codes (int8), scale, share of zeros and, where there are some, latent
        weights: ``looking.layers``."""
        if isinstance(self.engine, PackedModel):
            return looking.packed_layers(self.engine)
        return looking.layers(self._transformer("layers()"))

    @alone
    def trace(self, ids: ArrayLike) -> dict[str, NDArray]:
        """Every intermediate of a forward pass over ids (T,), by its name, (features, T) each, "logits" last;
        and attention's weights: ``looking.trace``."""
        self._transformer("trace()")
        return looking.trace(self.engine.quantized, self._window(ids)[0])

    def pack(self, engine: Literal["packed", "integer"] = "packed", threads: int = 1,
             kv_bits: Literal[32, 16, 8, 4] = 32) -> "LanguageModel":
        """The same model on another engine, in memory: two bits a weight. threads, kv_bits: as ``load``."""
        arrays = self.latent("pack()")
        check_engine(engine, threads, kv_bits)
        if engine == "float" or not self.config.variant.has_codes:
            raise UserError(f"pack({engine!r}) of a model with linear = {self.config.linear!r}: expected "
                            "packed or integer, and weights that are codes")
        running = engine_of(engine, self.config, *packed.pack(arrays, self.config), threads, kv_bits)
        return LanguageModel(running, self.tokenizer, self.settings, self.step)

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> Path:
        """Write a run directory, for ``load`` and the commands: config.json, tokenizer.json, last.safetensors
        (of a model that ``fit`` gave, with its metrics and what its run needs to go on) and, of weights that
        are codes, packed.safetensors."""
        check_switches(overwrite=overwrite)
        run, arrays, trained = RunDirectory(directory_to_write(path)), self.latent("save()"), self.trained
        check_space(run.path, 4 * 4 * self.config.n_parameters + 2**20)      # before anything is replaced
        derived = trained.job.derived if trained else {}
        run.create(self.settings | {"derived": derived}, self.tokenizer, overwrite=overwrite)
        try:
            for line in trained.lines if trained else ():
                run.log(line)
            checkpoint.save(run.last, trained.job.saved if trained else checkpoint.Checkpoint(
                self.step, math.inf, self.settings, arrays, {}, {}))
            if self.config.variant.has_codes:
                packed.save(run.packed, self.settings, self.step, *packed.pack(arrays, self.config))
        finally:
            run.close()
        return run.path

    def save_pretrained(self, path: str | os.PathLike, *, packed: bool = True,
                        dtype: Literal["float32", "float16", "bfloat16"] = "float32") -> Path:
        """Write a directory that ``transformers`` loads: config.json, model.safetensors, tokenizer.json
        (``interop/huggingface.py``). packed: ternary weights in two bits, or as the floats that they are
        quantized from, float32; dtype: of everything else, and what transformers computes in: with float32
        the logits are ours. Files that are there are replaced."""
        check_switches(packed=packed)
        if dtype not in list(FLOATS):
            raise UserError(f"dtype {brief(dtype)}: expected one of {', '.join(FLOATS)}")
        path, arrays, c = Path(directory_to_write(path)), self.latent("save_pretrained()"), self.config
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file: expected the name of a directory")
        if RunDirectory(path).is_run():
            raise UserError(f"{path} is a run, whose configuration would be lost: expected another directory")
        in_two_bits = bool(packed) and c.variant.has_codes
        check_space(path, 4 * c.n_parameters + 2**20)
        matrices, rest = pack(arrays, c) if in_two_bits else ({}, arrays)
        huggingface.write(path, c, matrices, rest, self.tokenizer, dtype=dtype, begin=self.begin,
                          ends=self.ends)
        return path

    def save_gguf(self, path: str | os.PathLike, kind: Literal["tq2", "tq1", "q2", "i2s"] = "tq2", *,
                  dtype: Literal["float16", "float32", "bfloat16"] = "float16") -> Path:
        """Write a ternary model as a GGUF file, for llama.cpp (``interop/gguf_model.py`` says which runs
        what). kind: TQ2_0, TQ1_0, Q2_0, or bitnet.cpp's I2_S; dtype: of embedding and head."""
        path, arrays, c = Path(directory_to_write(path)), self.latent("save_gguf()"), self.config
        if not c.variant.has_codes:
            raise UserError(f"save_gguf() of a model with linear = {c.linear!r}: expected ternary weights")
        gguf_model.write(path, c, *packed.pack(arrays, c), self.tokenizer, kind=kind, dtype=dtype,
                         begin=self.begin, ends=self.ends, name=path.stem)
        return path

    def latent(self, call: str = "latent()") -> dict[str, NDArray]:
        """{name: array} of its parameters, copied: what training moved. NonFiniteError for one that is no
        number. call: for messages."""
        return {name: a.copy() for name, a in self._transformer(call).arrays().items()}

    def _transformer(self, call):
        """The model with its latent weights; UserError where the engine has none, NonFiniteError where one is
        no number."""
        if not hasattr(self.engine, "transformer"):
            raise UserError(f"{call} of a model on the {type(self.engine).__name__}, which has no latent "
                            "weights: expected the float engine (of files: python -m minibitnet.convert)")
        for name, a in self.engine.transformer.arrays().items():
            if not all_finite(a):
                raise NonFiniteError(f"{call}: {name} is not finite everywhere: expected numbers")
        return self.engine.transformer

    def generate(self, prompt: str, tokens: int = 200, **sampling: Any) -> str:
        """The continuation of the text prompt, as text; keywords as in ``stream``: the same text at every
        call, or with seed=None another one."""
        return "".join(self.stream(prompt, tokens, **sampling))

    def _pair(self, ids, targets):
        """Token ids and targets, both (B, T); UserError for what is none."""
        ids = token_ids(ids, self.config.vocab_size, ndim=2)
        targets = targets_of(targets, self.config.vocab_size)
        same_shape("token ids and targets", ids.shape, targets.shape)
        return ids, targets

    def _window(self, ids):
        """(T,) token ids, at most a context of them -> (1, T)"""
        ids = token_ids(ids, self.config.vocab_size, ndim=1)
        if len(ids) > self.config.context:
            raise UserError(f"{len(ids):,} token ids: expected at most the context of "
                            f"{self.config.context:,}")
        return ids[None]


def begin_and_ends(corpus, tokenizer):
    """That part of a run's config -> (the id that a document begins with, or None; the ids that end one)."""
    end = tokenizer.end if corpus.get("documents") else None
    return corpus.get("begin", end), corpus.get("ends", [] if end is None else [end])


def check_engine(engine, threads, kv_bits):
    """UserError for an engine that is none, or for settings that it does not take."""
    if engine not in ENGINES:
        raise UserError(f"engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if not isinstance(kv_bits, Integral) or kv_bits not in KINDS:
        raise UserError(f"kv_bits = {kv_bits!r}: expected {', '.join(map(str, KINDS))}")
    check_threads(threads)
    if kv_bits != 32 and engine != "packed":
        raise UsageError(f"kv_bits = {kv_bits} with the {engine} engine: expected the packed one (the float "
                         "engine's cache has 32 bits, the integer engine's 8)")


def check_switches(**switches):
    """UserError for what is neither True nor False: "no" would be True."""
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise UserError(f"{name} = {brief(value)}: expected True or False")


def check_threads(threads):
    """UserError for what is no number of threads."""
    if not (isinstance(threads, Integral) and 1 <= threads <= MOST_THREADS):
        raise UserError(f"threads = {brief(threads)}: expected a count from 1 to {MOST_THREADS:,}")


def engine_name(model):
    """Which of ENGINES a LanguageModel runs on."""
    kinds = {FloatEngine: "float", PackedModel: "packed", IntegerModel: "integer"}
    return kinds[type(model.engine)]


def engine_of(engine, c, matrices, arrays, threads=1, kv_bits=32):
    """The packed or the integer engine of a model in two bits a weight."""
    return PackedModel(c, matrices, arrays, threads, kv_bits) if engine == "packed" else \
        IntegerModel(c, matrices, arrays)
