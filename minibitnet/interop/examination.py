"""All that is looked at before a model is called sound: its files, its weights, its tokenizer, and what it
says."""
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..api import run_at
from ..errors import UserError
from ..float16 import all_finite, widen
from ..formats import checkpoint, packed, safetensors
from ..formats.packed import is_bitlinear
from ..formats.rundir import RunDirectory
from ..formats.safetensors import FormatError
from ..pretrained import directory_of, is_pretrained
from . import huggingface, readings, soundness, source
from .soundness import Finding

DAMAGED = "damaged file"
RUN, RUN_FILE, DIRECTORY, GGUF, BARE = ("run", "file of a run", "directory of Hugging Face", "GGUF file",
                                        "safetensors file without a configuration")


@dataclass
class Report:
    """What was found. kind: of model; c: its ModelConfig, and None where none could be read; seen:
    [MatrixSeen]; heard: Heard, and None where it was not run; notes: what was left out, and why."""
    kind: str
    c: Any = None
    seen: list = field(default_factory=list)
    heard: Any = None
    findings: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    @property
    def sound(self):
        return not self.findings

    def has(self, fault):
        return any(finding.fault == fault for finding in self.findings)


def examine(path, *, data: str | None = None, run: bool = True, threads: int = 1,
            report: Callable[[str], Any] = lambda what: None) -> Report:
    """The model at a path, or of a name -> Report; UserError where there is none. data: a text to hear it on,
    by default its own, stories or pets; run: hear it at all; report(what) is called before every step."""
    folder, kind = place_of(path)
    found = Report(kind)
    if kind == BARE:
        look_at_file(found, folder, report)
        return found
    excused: list = []
    try:
        model = source.read(folder, report, excused)
    except UserError as e:
        found.findings.append(Finding(DAMAGED, str(e)))
        return found
    found.c = model.c
    found.findings += [Finding("tokenizer", str(e)) for e in excused]
    look(found, model.matrices, model.matrices.__getitem__, report)
    found.findings += chain(
        of_files(folder, kind, model, found.seen),
        soundness.of_matrices(found.seen, ternary=0 in (model.c.variant.codes or (0,))),
        soundness.of_arrays(model.arrays, soundness.spoken_ids(model.tokenizer)),
        soundness.of_config(model.c), soundness.of_tokenizer(model.tokenizer, model.ends))
    known, own = model.tokenizer is not None, model.settings.get("train", {}).get("data")
    unused = known and getattr(getattr(model.tokenizer, "vocabulary", None), "unused", 0)
    if unused:
        found.notes.append(f"the last {unused:,} of {model.c.vocab_size:,} token ids stand for nothing: is "
                           "the tokenizer this model's?")
    if known and not model.ends:
        found.notes.append("no token ends a text: what this model writes goes on until it is stopped")
    del model                                    # a large one is read again, and never there twice
    if run and known and not found.has(DAMAGED):
        listen(found, lambda: source.read(folder), own, data, threads, report)
    else:
        found.notes.append("the model was not run: what only running shows was not looked for")
    guess = soundness.suspicious_scales(found.seen)
    sure = found.heard and found.heard.predicts or found.has("scale convention") or found.has("scales lost")
    if guess and not sure:
        found.findings.insert(0, guess)
    elif guess and not found.has(guess.fault):
        found.notes.append(f"{guess.said}; but it predicts with them, read as it is or otherwise")
    return found


def place_of(path):
    """A path or a name -> (where the model is, its kind); UserError where nothing is."""
    folder = directory_of(path)
    if not folder.exists():
        return run_at(folder).path, RUN          # the one that comes along, or UserError
    if folder.suffix == ".gguf" and folder.is_file():
        return folder, GGUF
    if folder.suffix == ".safetensors" and folder.is_file():
        if is_directory(folder.parent) and belongs(folder):
            return folder.parent, DIRECTORY
        return folder, RUN_FILE if is_of_run(folder) else BARE
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a run, a directory of Hugging Face, safetensors or GGUF")
    if not any(chain(folder.glob("*.json"), folder.glob("*.safetensors"))):
        raise UserError(f"{folder}: expected a model, found a directory with neither weights nor "
                        f"{huggingface.CONFIG}")
    weights = [name for name in (huggingface.WEIGHTS, huggingface.INDEX) if (folder / name).is_file()]
    if RunDirectory(folder).is_run():
        return folder, RUN
    if weights and not (folder / huggingface.CONFIG).is_file():
        raise UserError(f"{folder} has no {huggingface.CONFIG}: expected it beside {weights[0]}; or name "
                        "that file")
    if weights and not is_directory(folder):
        raise UserError(f"{folder / huggingface.CONFIG} has no model_type: expected bitnet or llama, of the "
                        f"weights in {weights[0]}")
    return folder, DIRECTORY if is_directory(folder) else RUN


def belongs(path):
    """Is this file the weights of the directory that it lies in, or one of their shards?"""
    index = path.parent / huggingface.INDEX
    if (path.parent / huggingface.WEIGHTS).is_file() or not index.is_file():
        return path.name == huggingface.WEIGHTS
    named = huggingface.read_json(index).get("weight_map")
    return isinstance(named, dict) and path.name in named.values()


def is_directory(folder):
    """Is this a directory of Hugging Face? (One whose configuration cannot be read is damaged.)"""
    try:
        return (folder / huggingface.CONFIG).is_file() and is_pretrained(folder)
    except UserError:
        return True


def is_of_run(path):
    """Is this file a model's that a run wrote? (One that cannot be read is looked at by itself.)"""
    try:
        return safetensors.stored(path)[1].get("format") in (checkpoint.FORMAT, packed.FORMAT)
    except safetensors.FormatError:
        return False


def look(found, names, matrix, report):
    """Put what the matrices of these names look like into a Report; what cannot be read is a finding."""
    for name in names:
        report(name)
        try:
            found.seen.append(soundness.look(name, matrix(name)))
        except UserError as e:
            found.findings.append(Finding(DAMAGED, str(e)))


def listen(found, read, own, data, threads, report):
    """Put what a model says into a Report."""
    try:
        found.heard, finding = readings.hear(read, own, data, threads, report)
    except UserError as e:
        if data:
            raise
        found.notes.append(f"the model was not run: {e}")
    else:
        found.findings += [finding] if finding else []


def look_at_file(found, path, report):
    """The same of a safetensors file by itself, which says neither sizes nor how its scales are meant."""
    found.notes.append(f"{huggingface.CONFIG} is not beside it: how its scales are meant is not known, and "
                       "the model was not run")
    try:
        tensors = {name.removeprefix("model."): t for name, t in safetensors.stored(path)[0].items()}
    except UserError as e:
        found.findings.append(Finding(DAMAGED, str(e)))
        return
    names, arrays = list(filter(is_bitlinear, tensors)), {}
    if not names:
        raise UserError(f"{path} holds no projection: expected the weights of a BitNet (NAME_proj.weight)")
    look(found, names, lambda name: matrix_of(path, name, tensors), report)
    for name, tensor in tensors.items():
        if tensor.dtype in packed.FLOATS.values() and not (is_bitlinear(name) or name.endswith("_scale")):
            a = tensor.read()
            if all_finite(a):
                arrays[name] = a
            else:
                found.findings.append(Finding(DAMAGED, f"{path}: tensor {name!r} holds values that are not "
                                                       "finite"))
    found.findings += chain(soundness.of_matrices(found.seen), soundness.of_arrays(arrays))


def matrix_of(path, name, tensors):
    """A projection of such a file -> PackedMatrix: as it is, or as absmean would quantize its floats."""
    a = tensors[name].read()
    if a.ndim != 2 or not a.size or a.dtype not in (np.uint8, *packed.FLOATS.values()):
        raise FormatError(f"{path}: tensor {name!r} is {safetensors.NAMES[a.dtype]} {a.shape}: expected a "
                          "matrix of bytes or floats")
    if a.dtype != np.uint8:
        return huggingface.quantized(a, path, name)
    scale = tensors[f"{name}_scale"].read() if f"{name}_scale" in tensors else np.ones(1, np.float32)
    if scale.size != 1 or scale.dtype not in packed.FLOATS.values():
        raise FormatError(f"{path}: tensor '{name}_scale' is {safetensors.NAMES[scale.dtype]} {scale.shape}: "
                          "expected one float")
    return huggingface.checked_matrix(a, 4 * len(a), widen(scale.reshape(1))[0], path, name)


# ---- files that say different things

def of_files(folder, kind, model, seen):
    """A Source, where it is from, and what could be looked at, [MatrixSeen] -> Findings."""
    if kind == RUN:
        yield from of_run(RunDirectory(folder), model)
    if kind != DIRECTORY:
        return
    directory, head = huggingface.open_directory(folder), huggingface.stored(folder).get("lm_head.weight")
    if model.c.tied and head is not None and source.agreement(
            directory.tensors["embed_tokens.weight"].read(), head.read()) == "DIFFERENT":
        yield Finding("head beside a tied one", f"{folder}: lm_head.weight is not the embedding")
    if model.c.variant.has_codes and not directory.storage.packed:
        for name in (s.name for s in seen):
            w = widen(huggingface.array(directory, name))
            if soundness.has_three_values(w):
                yield Finding("quantized twice", f"{name} holds 0 and plus or minus {np.abs(w).max():g} "
                                                 f"alone; the scale that it is given is {np.abs(w).mean():g}")


def of_run(run, model):
    """The other files of a RunDirectory."""
    steps = {}
    for path in filter(Path.exists, (run.last, run.prev, run.best)):
        try:
            steps[path] = checkpoint.load(path).step
        except UserError as e:
            yield Finding(DAMAGED, str(e))
    if not run.packed.exists() or run.last not in steps:
        return
    try:
        found = packed.load(run.packed, lambda config: model.c)
    except UserError as e:
        yield Finding(DAMAGED, str(e))
        return
    other = [name for name, matrix in found.matrices.items()
             if not source.same_matrix(matrix, model.matrices[name])]
    other += [name for name, a in found.arrays.items()
              if source.agreement(model.arrays[name], a) == "DIFFERENT"]
    if other and found.step == steps[run.last]:
        yield Finding("stale packing", f"{run.packed} and {run.last} are of step {found.step:,}, and "
                                       f"{len(other)} of {len(found.matrices) + len(found.arrays)} arrays "
                                       f"differ, {other[0]} for one")
