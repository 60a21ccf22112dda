"""A random model of a known shape, one token after another with a key-value cache, by every engine."""
import multiprocessing
import tempfile
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy as np

from ..language_model import FloatEngine
from ..errors import UserError
from ..formats.packed import load
from ..inference.integer import IntegerModel
from ..inference.packed_engine import PackedModel
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from .random_models import SHAPES, packed_bytes, write_model
from .timing import processes_take_turns, ratio

PROMPT = 64              # tokens that are read at once
PACKED, FLOAT, INTEGER = "packed engine", "float engine", "integer engine"


def measure(name, rounds, threads):
    """-> {"shape", "context", "threads", "rounds", contender: {"decode_tokens_per_s", "prefill_tokens_per_s",
    "peak_mb", "weights_mb", "ours_to_this"}}. Ours to this: the packed engine's speed over this one's. 16-bit
    embeddings where the model is large."""
    c, contenders = ModelConfig(**SHAPES[name]), [PACKED] if name == "2b4t" else [PACKED, FLOAT, INTEGER]
    with model_file(name, c) as file:
        jobs = {contender: (decoding, contender, c, file, threads) for contender in contenders}
        results = processes_take_turns(jobs, rounds, seconds=0.5)
    row = {"shape": name, "context": c.context, "threads": threads, "rounds": rounds}
    for contender, (times, facts, peak) in results.items():
        row[contender] = {"decode_tokens_per_s": 1 / median(times), **facts, "peak_mb": peak,
                          "ours_to_this": ratio(times, results[PACKED][0])}
    return row


@contextmanager
def model_file(name, c):
    """A random model of a shape, in a packed file that is there inside this block."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "packed.safetensors"
        # not in this process: Linux counts a parent's peak as its children's
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            try:
                pool.submit(write_model, file, c, "bfloat16" if name == "2b4t" else "float32").result()
            except BrokenExecutor:
                raise UserError(f"the process that writes the model of shape {name} ended early: expected "
                                f"memory for one matrix at a time") from None
        yield file


def decoding(contender, c, file, threads):
    """-> a function that decodes one token, {"prefill_tokens_per_s", "weights_mb"}"""
    make = {PACKED: packed_engine, FLOAT: float_engine, INTEGER: integer_engine}[contender]
    return steps_of(*make(c, file, threads))


def steps_of(engine, nbytes):
    """An engine, its weights' bytes -> the same."""
    c = engine.config
    prompt = np.random.default_rng(0).integers(0, c.vocab_size, (1, min(PROMPT, max(1, c.context // 2))))
    caches, prefills, ids = engine.new_caches(), [], prompt[:, -1:]

    def prefill():
        for cache in caches:
            cache.length = 0
        began = time.perf_counter()
        engine(prompt, caches, last=True)
        prefills.append(time.perf_counter() - began)
    for _ in range(3):
        prefill()

    def step():
        nonlocal ids
        if caches[0].length == c.context:
            prefill()
        ids = engine(ids, caches, last=True)[:, 0, :].argmax(0)[None]
    return step, {"prefill_tokens_per_s": prompt.size / median(prefills), "weights_mb": nbytes / 1e6}


def packed_engine(c, file, threads):
    """The packed engine of a file, its weights' bytes."""
    engine = PackedModel(c, *weights_of(file), threads)
    return engine, weights_of_engine(engine)


def weights_of_engine(engine):
    """The bytes of a packed engine's weights."""
    head = 0 if engine.config.tied else engine.head.nbytes
    return sum(map(packed_bytes, engine.blocks)) + engine.embedding.nbytes + head


def float_engine(c, file, threads):
    """A random model's float engine, its latent weights' bytes."""
    return FloatEngine(Transformer(c)), 4 * c.n_parameters


def integer_engine(c, file, threads):
    """The integer engine of a file, its weights' bytes."""
    engine = IntegerModel(c, *weights_of(file))
    linears = [linear for block in engine.blocks for linear in block if hasattr(linear, "planes")]
    planes = sum(linear.planes.nbytes for linear in linears)
    return engine, planes + engine.embedding.codes.nbytes + (0 if c.tied else engine.head.codes.nbytes)


def weights_of(file):
    """A packed file's matrices and arrays."""
    packed = load(file, lambda config: ModelConfig(**config["model"]))
    return packed.matrices, packed.arrays


def in_words(row):
    """A row of ``measure`` as a table to print."""
    lines = [f"{row['shape']}, context {row['context']:,}, {row['threads']} threads, "
             f"median of {row['rounds']} rounds" + (
                 f"; loaded in {row['load_s']:.1f} s, {row['load_peak_mb']:,.0f} MB then at most"
                 if "load_s" in row else ""),
             f"  {'':14}{'decode tok/s':>14}{'prompt tok/s':>14}{'weights MB':>12}{'peak MB':>9}"
             f"{'packed / this':>14}"]
    for name in (PACKED, FLOAT, INTEGER):
        if name in row:
            r = row[name]
            lines.append(f"  {name:14}{r['decode_tokens_per_s']:>14.1f}{r['prefill_tokens_per_s']:>14.1f}"
                         f"{r['weights_mb']:>12,.1f}{r['peak_mb']:>9,.0f}"
                         f"{r['ours_to_this']['median']:>14.2f}")
    return "\n".join(lines)
