"""From the files of a run to a model:  model = minibitnet.load("runs/tiny"); print(model.generate("The "))"""
import os
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from .data_files import packaged
from .errors import UsageError, UserError, brief
from .files import found, possible, typed
from .formats import checkpoint as checkpoints
from .formats import packed
from .formats.rundir import RunDirectory, tokenizer_sha256
from .language_model import FloatEngine, LanguageModel, check_engine, engine_of
from .nn.config import ModelConfig
from .nn.model import Transformer
from .nn.training import TrainConfig
from .options import from_json
from .text.tokenizer import load_tokenizer

STORYTELLER = "storyteller"      # the trained model that the package brings along, packed: data/storyteller


def load(path: str | os.PathLike, engine: Literal["float", "packed", "integer"] = "float",
         checkpoint: Literal["last", "best"] = "last", warn: Callable[[str], Any] = warnings.warn,
         threads: int = 1, kv_bits: Literal[32, 16, 8, 4] = 32) -> LanguageModel:
    """Read the model of a run directory, or the one of the package: load("storyteller", "packed") tells
    stories. engine: "float" runs a checkpoint, "last" (prev.safetensors where that is damaged: warn(text)
    says so) or "best", the lowest validation loss; "packed" and "integer" run packed.safetensors, whatever it
    was made from. threads: of the packed engine, for its large products; kv_bits: of its key-value cache, 32,
    16, 8 or 4."""
    run = run_at(path)
    check_engine(engine, threads, kv_bits)
    if checkpoint not in ("last", "best"):
        raise UserError(f"checkpoint {checkpoint!r}: expected last or best")
    if engine != "float" and checkpoint != "last":
        raise UsageError(f"checkpoint {checkpoint} on the {engine} engine, which runs packed.safetensors: "
                         f"expected none (pack --checkpoint {checkpoint} packs that one)")
    if engine == "float":
        if run.packed.exists() and not any(map(Path.exists, (run.last, run.prev, run.best))):
            raise UserError(f"{run.path} has no checkpoint (last.safetensors), only packed.safetensors: "
                            "expected the engine packed or integer (--engine packed, or engine='packed'), "
                            "which runs that one")
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
                            f"{typed('--model', run.path)} makes it)")
        path_read = run.packed

        def parse(config):
            return from_json(ModelConfig, config["model"], path_read)
        found = packed.load(path_read, parse)
        config, step = found.config, found.step
        if reason := foreign_to_run(run)(found):
            raise UserError(f"{path_read}: {reason} (python -m minibitnet.pack "
                            f"{typed('--model', run.path)} makes it anew)")
        running = engine_of(engine, found.c, found.matrices, found.arrays, threads, kv_bits)
    tokenizer = tokenizer_of(run, running.config.vocab_size, config["corpus"])
    train = from_json(TrainConfig, config["train"], path_read)
    return LanguageModel(running, tokenizer, {"model": config["model"], "train": asdict(train),
                                              "corpus": {"name": "", "sha256": ""} | config["corpus"]},
                         step, path_read)


def run_at(path):
    """The RunDirectory at a path; UserError where there is none."""
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise UserError(f"model {brief(path)}: expected the directory of a run")
    if os.fspath(path) == STORYTELLER and not os.path.exists(path):
        return RunDirectory(packaged(f"{STORYTELLER}/config.json").parent)
    run = RunDirectory(possible(path))
    if run.path.is_file() and run.path.suffix == ".safetensors":
        raise UserError(f"{run.path} is a file: expected the directory of its run, of which an engine runs "
                        f"the last, the best or the packed one "
                        f"(float16.safetensors only shows the size of the papers' baseline)")
    if not run.path.is_dir():
        there = "not a directory" if run.path.exists() else "not there"
        raise UserError(f"{run.path} is {found(run.path) if run.path.is_symlink() else there}: expected the "
                        f"directory of a run (python -m minibitnet.train --tiny makes runs/tiny)")
    return run


def latest(run, checkpoint="last", warn=warnings.warn):
    """A RunDirectory's newest good checkpoint of its own run, or its best -> (Checkpoint, its path)."""
    paths = (run.best,) if checkpoint == "best" else (run.last, run.prev)
    saved, path, note = checkpoints.load_latest(*paths, check=foreign_to_run(run))
    if note:
        warn(note)
    return saved, path


def foreign_to_run(run):
    """A check: why a file with a ``config`` is not one of this run, or None. (Where there is no config.json,
    a file stands for itself.)"""
    ours = run.configurations()

    def check(found):
        if ours is not None and found.config not in ours:
            return f"it is of another run than {run.path / 'config.json'}: expected the same configuration"
    return check


def tokenizer_of(run, vocab_size, corpus):
    """A RunDirectory's tokenizer; UserError where its model was trained with another one. corpus: that part
    of the run's config."""
    path = run.path / "tokenizer.json"
    if not path.exists() and not path.is_symlink():
        raise UserError(f"{path} is not there: expected the tokenizer that the run was made with; was it "
                        "deleted, or left behind when the run was copied?")
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
