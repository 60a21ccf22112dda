"""Any model that can be read, in one form: a run, a directory of Hugging Face, a GGUF file; and back."""
import shutil
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..api import latest, model_of, run_at, tokenizer_of
from ..errors import UserError
from ..float16 import rounded, widen
from ..formats import checkpoint, packed, safetensors
from ..formats.packed import FLOATS, is_bitlinear
from ..formats.rundir import RunDirectory
from ..measure.random_models import SHAPES, RandomModel
from ..nn.config import ModelConfig
from ..options import from_json
from ..language_model import begin_and_ends
from ..pretrained import begins, directory_of, is_pretrained, settings_of
from ..pretrained import tokenizer_of as pretrained_tokenizer
from ..text.bpe_files import with_end
from ..text.tokenizer import BPETokenizer, padded
from . import gguf_model, huggingface

TARGETS = ("hf", *(f"gguf-{kind}" for kind in gguf_model.KINDS), "packed")


class Source(NamedTuple):
    """c; matrices {name: PackedMatrix} of ternary projections, which may be read when they are taken; arrays
    {name: array} of all else, and of a float model's projections too. begin, ends: the ids that begin and end
    a text; settings: of the run, or {}."""
    c: ModelConfig
    matrices: Mapping
    arrays: dict
    tokenizer: Any
    begin: int | None
    ends: list
    settings: dict


def read(path, report=lambda name: None, excused=None):
    """The model at a path, or of a name -> Source. report(name): as ``huggingface.Matrices``. excused: a list
    that takes the UserError of a tokenizer that cannot be read; the Source has None then."""
    folder = directory_of(path)
    if folder.suffix == ".gguf" and folder.is_file():
        found, tokenizer = gguf_model.read(folder), None
        with excuse(excused):
            tokenizer = padded(gguf_model.tokenizer_of(found.file), found.c.vocab_size, folder)
        return Source(found.c, found.matrices, found.arrays, tokenizer, found.begin, found.ends, {})
    if is_pretrained(folder):
        return of_directory(huggingface.open_directory(folder), report, excused)
    if folder.suffix == ".safetensors" and folder.is_file():
        return of_file(folder, excused)
    run = run_at(folder)
    if run.last.exists() or not run.packed.exists():
        return of_checkpoint(*latest(run), run, excused)
    return of_packed(run.packed, run, excused)


def of_directory(directory, report, excused=None):
    """A huggingface.Directory."""
    matrices, arrays = huggingface.Matrices(directory, report), huggingface.arrays(directory)
    if not directory.c.variant.has_codes:
        arrays |= {name: huggingface.array(directory, name) for name in matrices}
        matrices = {}
    (begin, ends), tokenizer = huggingface.token_ids(directory), None
    with excuse(excused):
        begin = begin if begins(directory.path, begin) else None
        tokenizer = pretrained_tokenizer(directory.path, directory.c.vocab_size)
    return Source(directory.c, matrices, arrays, tokenizer, begin, ends, {})


def of_file(path, excused=None):
    """A file of a run: a checkpoint or a packed one."""
    if path.name == huggingface.WEIGHTS and is_pretrained(path.parent):
        raise UserError(f"{path} is the weights alone: expected its directory, {path.parent}")
    run, (_, metadata) = RunDirectory(path.parent), safetensors.stored(path)
    if metadata.get("format") == packed.FORMAT:
        return of_packed(path, run, excused)
    return of_checkpoint(checkpoint.load(path), path, run, excused)


def of_checkpoint(saved, path, run, excused=None):
    """A Checkpoint that was read, of a RunDirectory."""
    parameters, c = model_of(saved, path).arrays(), from_json(ModelConfig, saved.config["model"], path)
    matrices, arrays = packed.pack(parameters, c) if c.variant.has_codes else ({}, parameters)
    return with_tokenizer(c, matrices, arrays, run, saved.config, excused)


def of_packed(path, run, excused=None):
    """A packed file of a RunDirectory."""
    found = packed.load(path, lambda config: from_json(ModelConfig, config["model"], path))
    return with_tokenizer(found.c, found.matrices, found.arrays, run, found.config, excused)


def with_tokenizer(c, matrices, arrays, run, settings, excused):
    """A run's arrays, with its tokenizer, -> Source."""
    tokenizer = None
    with excuse(excused):
        tokenizer = tokenizer_of(run, c.vocab_size, settings["corpus"])
    begin, ends = begin_and_ends(settings["corpus"], tokenizer) if tokenizer else (None, [])
    return Source(c, matrices, arrays, tokenizer, begin, ends, settings)


@contextmanager
def excuse(excused):
    """Put a UserError of this block into a list, if there is one."""
    try:
        yield
    except UserError as e:
        if excused is None:
            raise
        excused.append(e)


def random(name):
    """Random weights of a shape of ``random_models.SHAPES``, embeddings in bfloat16. (The context
    is that of the published model; the tokens are bytes, and many that stand for nothing.)"""
    c = ModelConfig(**SHAPES[name] | ({"context": 4096} if name == "2b4t" else {}))
    weights = RandomModel(c, FLOATS["bfloat16"])
    arrays = {key: weights[key] for key in weights.shapes if not is_bitlinear(key)}
    tokenizer = padded(BPETokenizer(with_end({bytes([b]): b for b in range(256)})), c.vocab_size, name)
    return Source(c, {key: weights[key] for key in weights.shapes if is_bitlinear(key)}, arrays, tokenizer,
                  tokenizer.end, [tokenizer.end], {})


def write(source, path, to, dtype):
    """A Source as one of TARGETS; dtype: of what is not packed."""
    path = Path(path)
    new = not path.exists()
    try:
        _write(source, path, to, dtype)
    except BaseException:
        if new and path.is_dir():                # nothing stays of what could not be made
            shutil.rmtree(path)
        raise


def _write(source, path, to, dtype):
    c = source.c
    if to == "hf":
        huggingface.write(path, c, source.matrices, source.arrays, source.tokenizer, dtype=dtype,
                          begin=source.begin, ends=source.ends)
    elif to == "packed":
        if not c.variant.has_codes:
            raise UserError(f"linear = {c.linear!r}: expected ternary or binary weights to pack")
        settings = source.settings or settings_of(c, path.name, source.begin, source.ends)
        run = RunDirectory(path)
        run.create(settings, source.tokenizer)
        try:
            packed.save(run.packed, settings, 0, source.matrices, source.arrays, dtype)
        finally:
            run.close()
    else:
        gguf_model.write(path, c, source.matrices, source.arrays, source.tokenizer,
                         kind=to.removeprefix("gguf-"), dtype=dtype, begin=source.begin, ends=source.ends,
                         name=path.stem)


def same_matrix(ours, theirs):
    """Do two PackedMatrix hold the same weights?"""
    return np.array_equal(ours.packed, theirs.packed) and ours.scale == theirs.scale


def agreement(ours, theirs):
    """What became of an array that was kept as another type: "equal", "rounded" to it, or "DIFFERENT"."""
    if ours.shape != theirs.shape:
        return "DIFFERENT"
    if np.array_equal(widen(ours), widen(theirs)):
        return "equal"
    try:
        return "rounded" if np.array_equal(widen(rounded(ours, theirs.dtype)), widen(theirs)) else "DIFFERENT"
    except ValueError:                           # numbers that their type does not hold
        return "DIFFERENT"


def compare(source, other):
    """What went where, of a Source and of what was read back -> (kind of array, how many, numbers in them,
    how they are stored, "equal", "rounded" to 16 bits or "DIFFERENT") of each kind."""
    groups: dict = {}
    for name, shape in source.c.tensor_shapes().items():
        if name in source.matrices:
            ours, theirs = source.matrices[name], other.matrices[name]
            verdict = "equal" if same_matrix(ours, theirs) else "DIFFERENT"
            kind, how = "projections", "ternary"
        else:
            verdict = agreement(source.arrays[name], other.arrays[name])
            kind = ("projections" if is_bitlinear(name) else
                    {"embed_tokens.weight": "embedding", "lm_head.weight": "head"}.get(name, "gains"))
            how = next(text for text, dtype in FLOATS.items() if dtype == other.arrays[name].dtype)
        groups.setdefault((kind, how), []).append((int(np.prod(shape)), verdict))
    for (kind, how), verdicts in groups.items():
        said = {verdict for _, verdict in verdicts}
        worst = next(word for word in ("DIFFERENT", "rounded", "equal") if word in said)
        yield kind, len(verdicts), sum(n for n, _ in verdicts), how, worst
