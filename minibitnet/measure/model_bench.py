"""A model that is on disk, loaded and run by the packed engine, token by token."""
import time
from pathlib import Path
from statistics import median

from ..pretrained import open_model
from .decode_bench import PACKED, steps_of, weights_of_engine
from .timing import peak_bytes, processes_take_turns, ratio


def measure(path, rounds, threads):
    """-> a row as ``decode_bench.measure`` makes, of one contender; and "load_s", "load_peak_mb". Files that
    were just read, or written, come from memory: the disk is warm."""
    [(times, facts, peak)] = processes_take_turns({PACKED: (loaded, path, threads)}, rounds, 0.5).values()
    context, load = facts.pop("context"), {key: facts.pop(key) for key in ("load_s", "load_peak_mb")}
    return {"shape": Path(path).name, "context": context, "threads": threads, "rounds": rounds, **load,
            PACKED: {"decode_tokens_per_s": 1 / median(times), **facts, "peak_mb": peak,
                     "ours_to_this": ratio(times, times)}}


def loaded(path, threads):
    """-> a function that decodes one token, its facts."""
    began = time.perf_counter()
    engine = open_model(path, "packed", threads=threads).engine
    load = {"load_s": time.perf_counter() - began, "load_peak_mb": peak_bytes() / 1e6}
    step, facts = steps_of(engine, weights_of_engine(engine))
    return step, facts | load | {"context": engine.config.context}
