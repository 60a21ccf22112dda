"""Models of Hugging Face:  model = minibitnet.from_pretrained(DIRECTORY)"""
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .api import load
from .errors import UsageError, UserError, brief
from .files import possible
from .float16 import widen
from .interop import gguf_model, huggingface
from .language_model import FloatEngine, LanguageModel, check_engine, engine_of
from .nn.model import Transformer
from .text.tokenizer import load_tokenizer, padded

NAME = re.compile(r"[\w.-]+/[\w.-]+")
FILES = ["*.json", "*.safetensors", "*.tiktoken"]
TOKENIZERS = "tokenizer.json", "tokenizer.tiktoken"


def from_pretrained(path: str | os.PathLike, engine: Literal["float", "packed", "integer"] | None = None, *,
                    threads: int = 1, kv_bits: Literal[32, 16, 8, 4] = 32,
                    report: Callable[[str], Any] = lambda name: None) -> LanguageModel:
    """The model of a Hugging Face directory, or of a name such as microsoft/bitnet-b1.58-2B-4T: one that
    ``huggingface_hub`` has in its cache, or fetches where it is installed (pip install 'minibitnet[hub]').

    BitNet, its weights packed or in floats, and LLaMA in floats or with ternary projections:
    ``interop/huggingface.py``; and the GGUF file of a BitNet: ``interop/gguf_model.py``.
    engine: "packed" for ternary weights, also those that are stored in floats, "float" for a float model;
    "float" of ternary weights needs them in floats. threads, kv_bits: as ``load``.
    report(name) is called for every matrix that is read."""
    folder = directory_of(path)
    if folder.suffix == ".gguf" and folder.is_file():
        return of_gguf(folder, engine or "packed", threads, kv_bits)
    directory = huggingface.open_directory(folder)
    c = directory.c
    engine = engine or ("packed" if c.variant.has_codes else "float")
    check_engine(engine, threads, kv_bits)
    tokenizer = tokenizer_of(directory.path, c.vocab_size)
    if engine == "float":
        running = FloatEngine(transformer_of(directory, report))
    elif not c.variant.has_codes:
        raise UserError(f"{directory.path} is a float model: expected the float engine; the {engine} "
                        "one runs ternary weights")
    else:
        running = engine_of(engine, c, matrices(directory, engine, report), huggingface.arrays(directory),
                            threads, kv_bits)
    begin, ends = huggingface.token_ids(directory)
    begin = begin if begins(directory.path, begin) else None
    return LanguageModel(running, tokenizer, settings_of(c, directory.path.name, begin, ends), 0,
                         directory.path)


def open_model(path, engine=None, checkpoint="last", **options):
    """The model of a run (``load``) or of others (``from_pretrained``), for a command. engine: by default a
    run's float one, of others the one that their weights are for; warn, threads, kv_bits: as ``load``."""
    if not is_pretrained(path):
        return load(path, engine or "float", checkpoint, **options)
    if checkpoint != "last":
        raise UsageError(f"--checkpoint {checkpoint}: expected none, {path} is no run")
    options.pop("warn", None)
    return from_pretrained(path, engine, **options)


def settings_of(c, name, begin, ends):
    """What stands for a run's config of a model that no run has made. begin, ends: ids."""
    return {"model": asdict(c), "train": {}, "corpus": {
        "name": name, "sha256": "", "documents": begin is not None or bool(ends),
        "begin": begin, "ends": ends}}


def is_pretrained(path):
    """Is this a directory of Hugging Face, a GGUF file or a name in the hub's cache, and not a run?"""
    folder = Path(possible(path))
    if not folder.exists():
        return bool(NAME.fullmatch(os.fspath(path)) and in_cache(os.fspath(path)))
    config = folder / huggingface.CONFIG
    return folder.suffix == ".gguf" or config.is_file() and "model_type" in huggingface.read_json(config)


def of_gguf(path, engine, threads, kv_bits):
    """The model of a GGUF file."""
    check_engine(engine, threads, kv_bits)
    if engine == "float":
        raise UserError(f"{path} has ternary weights, of which no floats are left: expected the engine "
                        "packed or integer")
    found = gguf_model.read(path)
    tokenizer = padded(gguf_model.tokenizer_of(found.file), found.c.vocab_size, path)
    running = engine_of(engine, found.c, found.matrices, found.arrays, threads, kv_bits)
    settings = settings_of(found.c, path.stem, found.begin, found.ends)
    return LanguageModel(running, tokenizer, settings, 0, path)


def directory_of(path):
    """A directory, or a name in the hub's cache or to be fetched -> Path."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise UserError(f"model {brief(path)}: expected a directory, or a name such as "
                        "microsoft/bitnet-b1.58-2B-4T")
    folder = Path(possible(path))
    if folder.exists() or not NAME.fullmatch(os.fspath(path)):
        return folder
    if cached := in_cache(os.fspath(path)):
        return cached
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError(f"{path} is no directory here and not in the hub's cache ({cache()}): expected "
                        "one of the two; pip install 'minibitnet[hub]' lets this call fetch it")
    return fetched(os.fspath(path))


def cache():
    """The folder in which huggingface_hub keeps what it fetched."""
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache",
                                             "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home, "hub"))


def in_cache(name):
    """The newest snapshot of a name in the cache, or None."""
    folder = cache() / f"models--{name.replace('/', '--')}"
    main = folder / "refs" / "main"
    if not main.is_file():
        return None
    snapshot = folder / "snapshots" / main.read_text(encoding="utf-8", errors="replace").strip()[:100]
    return snapshot if (snapshot / huggingface.CONFIG).is_file() else None


def fetched(name):
    """Fetch a name; UserError, in one line, where that fails."""
    from huggingface_hub import snapshot_download
    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except Exception as e:               # of many kinds: no network, no such model, a login that it needs
        reason = str(e).strip().partition("\n")[0][:200]
        raise UserError(f"{name} cannot be fetched ({type(e).__name__}: {reason}): expected a network, and a "
                        "name that the hub knows, or a directory") from None


def begins(folder, begin):
    """Does the tokenizer of a directory put the token in front of a text? tokenizer_config.json says so, or
    the template in tokenizer.json; a file of ranks says nothing."""
    path = folder / "tokenizer_config.json"
    says = huggingface.read_json(path).get("add_bos_token") if path.is_file() else None
    if isinstance(says, bool):
        return says
    if not (folder / TOKENIZERS[0]).is_file():
        return True
    post = huggingface.read_json(folder / TOKENIZERS[0]).get("post_processor") or {}
    try:
        for template in post.get("processors", [post]):
            first = (template.get("single") or [{}])[0]
            if "SpecialToken" in first:
                return begin in template["special_tokens"][first["SpecialToken"]["id"]]["ids"]
    except (KeyError, TypeError, AttributeError, IndexError):
        raise UserError(f"{folder / TOKENIZERS[0]}: post_processor {brief(post)}: expected a template"
                        ) from None
    return False


def tokenizer_of(folder, vocab_size):
    """The tokenizer of a directory, with ids up to the model's."""
    path = next((folder / name for name in TOKENIZERS if (folder / name).is_file()), None)
    if path is None:
        raise UserError(f"{folder} has no tokenizer.json: expected the model's tokenizer beside it")
    return padded(load_tokenizer(path), vocab_size, path)


def transformer_of(directory, report):
    """A Transformer with a directory's floats."""
    if directory.storage.packed:
        raise UserError(f"{directory.path} has packed weights, of which no floats are left: expected the "
                        "engine packed or integer")
    transformer = Transformer(directory.c)
    for name, a in transformer.arrays().items():
        report(name)
        np.copyto(a, widen(huggingface.array(directory, name)))
    return transformer


def matrices(directory, engine, report):
    """The projections for an engine: the packed one takes them one by one, the integer one looks at all."""
    found = huggingface.Matrices(directory, report)
    return found if engine == "packed" else dict(found)
