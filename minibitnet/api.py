"""The few calls of a notebook or a script:  model = minibitnet.load("runs/tiny");  print(model.generate("The "))"""
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .errors import UserError
from .formats import checkpoint
from .formats.rundir import RunDirectory
from .inference.sampling import check_sampling, decode
from .nn.config import ModelConfig
from .nn.model import Transformer
from .nn.training import TrainConfig
from .options import from_json
from .text.tokenizer import load_tokenizer


class LanguageModel:
    """A trained model that only runs: ``logits``, ``generate``, ``stream``; ``tokenizer``, ``config`` (ModelConfig) and
    ``settings`` (the run's config.json). The float engine: weights are quantized once, and products of whole-number codes
    are made in float32.
    """

    def __init__(self, transformer, tokenizer, settings):
        self.running, self.tokenizer, self.settings = transformer.quantized(), tokenizer, settings
        self.config = transformer.config
        self.begin = tokenizer.end if settings["corpus"].get("documents") else None      # what a document begins and ends with

    def logits(self, ids):
        """(T,) token ids -> (T, vocab_size) float32: row t scores the token after ids[:t + 1]."""
        ids = self._checked(ids)
        if len(ids) > self.config.context:
            raise UserError(f"{len(ids):,} token ids: expected at most the context of {self.config.context:,}")
        return self.running(ids[None]).data[:, 0].T

    def stream(self, prompt, tokens=200, *, temperature=0.8, top_k=0, top_p=1.0, seed=0):
        """Yield the continuation of the text prompt piece by piece, of at most ``tokens`` tokens. A model that was trained on
        documents takes the prompt, which may be empty, for the beginning of one and stops where it ends. When the context is
        full, its newest half is kept."""
        check_sampling(temperature, top_k, top_p, seed)
        ids = self._checked(self.encode(prompt))
        text_of = self.tokenizer.decode_stream()
        for i in decode(self, ids, tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed):
            if i == self.begin:
                return
            yield text_of(i)

    def encode(self, text):
        """Token ids of a text that begins a document, with the document's begin token where the model knows documents."""
        ids = self.tokenizer.encode(text)
        return ids if self.begin is None else np.concatenate([np.array([self.begin], ids.dtype), ids])

    def generate(self, prompt, tokens=200, **sampling):
        """The continuation of the text prompt, as text; keywords as in ``stream``."""
        return "".join(self.stream(prompt, tokens, **sampling))

    def new_caches(self):
        return self.running.new_caches()

    def next_logits(self, ids, caches):
        """Append ids (T,) to the caches -> scores (V,) of the token after them."""
        return self.running(ids[None], caches).data[:, 0, -1]

    def _checked(self, ids):
        ids = np.asarray(ids)
        if ids.ndim != 1 or not ids.size:
            raise UserError(f"expected at least one token id, got {'an empty prompt' if not ids.size else f'shape {ids.shape}'}")
        if ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= self.config.vocab_size:
            raise UserError(f"token ids from {ids.min()} to {ids.max()} ({ids.dtype}): expected integers from 0 to "
                            f"{self.config.vocab_size - 1}")
        return ids


def load(path, which="last", warn=warnings.warn):
    """Read the model of a run directory. which: "last" (prev.safetensors where that is damaged: warn(text) says so) or
    "best", the lowest validation loss."""
    run = RunDirectory(path)
    if not run.path.is_dir():
        raise UserError(f"{run.path} is {'not a directory' if run.path.exists() else 'not there'}: expected the directory of a run "
                        f"(python -m minibitnet.train --tiny makes runs/tiny)")
    saved, path_read, note = checkpoint.load_latest(*((run.best,) if which == "best" else (run.last, run.prev)))
    if note:
        warn(note)
    transformer = model_of(saved, path_read)
    tokenizer = load_tokenizer(Path(path) / "tokenizer.json")
    if tokenizer.vocab_size != transformer.config.vocab_size:
        raise UserError(f"{run.path / 'tokenizer.json'} has {tokenizer.vocab_size:,} tokens, the model has "
                        f"{transformer.config.vocab_size:,}: the two are not from one run")
    train = from_json(TrainConfig, saved.config["train"], path_read)
    return LanguageModel(transformer, tokenizer, {"model": saved.config["model"], "train": asdict(train),
                                                  "corpus": {"name": "", "sha256": ""} | saved.config["corpus"]})


def model_of(saved, path):
    """A Transformer with the parameters of a Checkpoint; path is for messages."""
    transformer = Transformer(from_json(ModelConfig, saved.config["model"], path))
    checkpoint.copy_into({name: p.data for name, p in transformer.parameters().items()}, saved.parameters, path)
    return transformer
