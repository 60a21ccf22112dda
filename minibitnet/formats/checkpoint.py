"""Checkpoints: parameters, the optimizer's moments, the step and the configuration in one safetensors file.

Arrays: the parameters under their names; Adam's moments as "m.NAME" and "v.NAME" (not in best.safetensors).
Metadata: "format", "step", "best_val_loss" and "config" (JSON). There is no random state to save: the batch
of a step is a pure function of (seed, step). There is no time or path either: equal runs write equal bytes.
"""
import hashlib
import json
from dataclasses import dataclass

import numpy as np

from ..float16 import all_finite
from . import safetensors
from .safetensors import FormatError

FORMAT = "minibitnet checkpoint 1"
PARTS = "model", "train", "corpus"     # of a run's config.json, which all its model files repeat


@dataclass
class Checkpoint:
    step: int
    best_val_loss: float
    config: dict          # {"model": ..., "train": ..., "corpus": ...}: what the run was made with
    parameters: dict      # {name: array}
    m: dict               # {name: array}, empty where the file has no optimizer state
    v: dict


def parameters_sha256(parameters):
    """A model's name: the sha256 of its parameters {name: float32 array}, in order: of each "NAME SHAPE\n"
    and its numbers, little-endian."""
    digest = hashlib.sha256()
    for name, a in parameters.items():
        digest.update(f"{name} {'x'.join(map(str, a.shape))}\n".encode())
        digest.update(np.ascontiguousarray(a, "<f4").data)
    return digest.hexdigest()


def save(path, checkpoint, keep=None):
    """Write a Checkpoint to path atomically; keep: where the file before it goes."""
    c = checkpoint
    moments = {f"{moment}.{name}": a for moment in "mv" for name, a in getattr(c, moment).items()}
    metadata = {"format": FORMAT, "step": str(c.step), "best_val_loss": repr(c.best_val_loss),
                "config": json.dumps(c.config)}
    safetensors.save(path, c.parameters | moments, metadata, keep)


def load(path):
    """Read a Checkpoint; FormatError ("path: reason") for a damaged or foreign file."""
    arrays, metadata = safetensors.load(path)
    if metadata.get("format") != FORMAT:
        raise FormatError(f"{path}: its metadata has format {metadata.get('format')!r}: expected {FORMAT!r}, "
                          f"a checkpoint that minibitnet wrote")
    try:
        step, best = int(metadata["step"]), float(metadata["best_val_loss"])
        config = config_in(metadata)
    except (KeyError, ValueError, TypeError, RecursionError):
        raise FormatError(f"{path}: its metadata lacks a step, a best_val_loss or a config") from None
    for name, a in arrays.items():
        if a.dtype != np.float32 or not all_finite(a):
            found = a.dtype if a.dtype != np.float32 else "float32 with values that are not finite"
            raise FormatError(f"{path}: tensor {name!r} is {found}: expected finite float32")
    groups = {"m.": {}, "v.": {}, "": {}}
    for name, a in arrays.items():
        prefix = name[:2] if name[:2] in groups else ""
        groups[prefix][name.removeprefix(prefix)] = a
    return Checkpoint(step, best, config, groups[""], groups["m."], groups["v."])


def config_in(metadata):
    """The configuration in the metadata of a model's file; KeyError, TypeError, ValueError or RecursionError
    where it is none."""
    config = json.loads(metadata["config"])
    if not all(isinstance(config[part], dict) for part in PARTS):
        raise ValueError("a part is no object")
    return config


def load_latest(*paths, check=lambda checkpoint: None):
    """The first of the paths that holds a good checkpoint -> (Checkpoint, its path, note); note says what was
    wrong with the ones before it, or is None. check(checkpoint) says why one is not wanted. With no good one,
    FormatError with the reasons of all."""
    errors = []
    for path in paths:
        try:
            checkpoint = load(path)
            if reason := check(checkpoint):
                raise FormatError(f"{path}: {reason}")
        except FormatError as e:
            errors.append(e)
        else:
            note = f"{errors[0]}; using {path.name} of step {checkpoint.step}" if errors else None
            return checkpoint, path, note
    raise FormatError("; ".join(map(str, errors)))


def foreign_to(settings, configurations):
    """A check for ``load_latest``: why a checkpoint is not one of the run with these settings that can be
    resumed, or None. configurations: those that files of the run may carry."""
    def check(c):
        if c.config not in configurations:
            return "it is of another run (its configuration is not that of config.json)"
        if not c.parameters.keys() == c.m.keys() == c.v.keys():
            return "it has no optimizer state to go on from"
        if not 0 <= c.step <= settings["train"]["steps"]:
            return f"its step {c.step} is beyond the run's last one, {settings['train']['steps']}"
    return check


def copy_into(target, source, path):
    """Copy {name: array} into {name: array of the same names and shapes}; FormatError names the first
    difference."""
    for name in sorted(target.keys() | source.keys()):
        if name not in source or name not in target:
            state = "missing" if name not in source else "not of this model"
            raise FormatError(f"{path}: tensor {name!r} is {state}")
        if target[name].shape != source[name].shape:
            raise FormatError(f"{path}: tensor {name!r} has shape {source[name].shape}: "
                              f"expected {target[name].shape}")
        target[name][...] = source[name]
