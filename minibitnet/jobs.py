"""A training run before its first step: flags and a config.json -> a Job in which all has been checked."""
import json
import shutil
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tqdm import tqdm

from . import _command
from .api import tokenizer_of
from .errors import UserError
from .formats import checkpoint
from .formats.rundir import RunDirectory, tokenizer_sha256
from .nn.config import ModelConfig, check_size
from .nn.training import TrainConfig, with_defaults
from .options import from_json
from .text.batches import Part, parts
from .text.corpora import Corpus, load_corpus, texts
from .text.streams import token_stream
from .text.tokenizer import make_tokenizer

# What --tiny means; flags given beside it win.
TINY = {"model": {"linear": "ternary", "d_model": 128, "n_layers": 4, "n_heads": 4, "context": 256},
        "train": {"data": "stories", "tokenizer": "bpe:512", "batch": 4, "steps": 1300, "lr": 8e-3}}
MAX_STEP_TOKENS = 2**20
PARTS = ("model", "train", "corpus")     # of a config.json, which every model file of its run repeats


@dataclass
class Job:
    """A run that is ready to start or to go on: what a user can get wrong has been checked."""
    run: RunDirectory
    model_config: ModelConfig
    train_config: TrainConfig
    corpus: Corpus
    tokenizer: object
    training: Part                                 # of the corpus
    validation: Part
    settings: dict                                 # config.json
    saved: checkpoint.Checkpoint | None = None     # where to go on from


def new_job(args, given):
    """Flags -> a Job in a new run directory, which is made only when all else has been checked."""
    from_file = chosen(read_config(args.config)) if args.config else {"model": {}, "train": {}}
    from_file["model"].pop("vocab_size", None)       # the tokenizer of this run's corpus decides
    options = {part: {**(TINY[part] if args.tiny else {}), **from_file[part], **given[part]}
               for part in given}
    named = from_file["train"] | given["train"]
    if options["train"].get("data") != TINY["train"]["data"] and "tokenizer" not in named:
        # the tiny run's vocabulary is for the stories; a small text has not so many pairs
        options["train"].pop("tokenizer", None)
    same = all(options["model"].get(name) == TINY["model"][name] for name in ("linear", "d_model"))
    if not same and "lr" not in named:
        options["train"].pop("lr", None)             # and its learning rate is for its own variant and width
    train_config = from_json(TrainConfig, options["train"], args.config)
    corpus = load_corpus(train_config.data)
    tokenizer = make_tokenizer(train_config.tokenizer, texts(corpus), with_end=corpus.has_documents)
    model_config = from_json(ModelConfig, {"vocab_size": tokenizer.vocab_size, **options["model"]},
                             args.config)
    if model_config.vocab_size != tokenizer.vocab_size:
        raise UserError(f"vocab_size = {model_config.vocab_size:,}: the tokenizer has "
                        f"{tokenizer.vocab_size:,} tokens; leave vocab_size out")
    training, validation = parts(tokens_of(corpus, tokenizer), model_config.context,
                                 train_config.val_fraction)
    run = RunDirectory(args.out or Path("runs")
                       / ("tiny" if args.tiny else f"{corpus.name}-{model_config.linear}"))
    train_config = with_defaults(train_config, model_config)
    settings = {"model": asdict(model_config), "train": asdict(train_config),
                "corpus": {"name": corpus.name, "sha256": corpus.sha256, "replaced": corpus.replaced,
                           "documents": validation.n_documents is not None,
                           "tokenizer_sha256": tokenizer_sha256(tokenizer)}}
    check_size(model_config)
    if train_config.batch * model_config.context > MAX_STEP_TOKENS:
        raise UserError(f"batch = {train_config.batch:,} of context = {model_config.context:,} tokens: "
                        f"expected at most {MAX_STEP_TOKENS:,} tokens a step; is a size mistyped?")
    check_space(run.path, model_config)
    run.create(settings | {"derived": derived(options, model_config, train_config)}, tokenizer,
               overwrite=args.overwrite, replace_finished=args.tiny and not args.out)
    return Job(run, model_config, train_config, corpus, tokenizer, training, validation, settings)


def resumed_job(path, given):
    """A run directory -> the Job to go on with; flags that were given must say what the run says."""
    run = RunDirectory(path)
    settings = read_config(run.path / "config.json")
    del settings["derived"]                          # which the run's other files do not repeat
    if "sha256" not in settings["corpus"]:
        raise UserError(f"{run.path / 'config.json'}: expected the corpus's sha256; the file is damaged")
    data = given["train"].pop("data", settings["train"].get("data"))      # the text may have moved
    for section, options in given.items():
        for name, value in options.items():
            kept = settings[section].get(name)
            if kept != value:
                raise UserError(f"--{name.replace('_', '-')} {value}: the run in {run.path} has {kept}, and "
                                f"a resumed run keeps its configuration")
    model_config, train_config = (from_json(config_class, settings[part], run.path / "config.json")
                                  for part, config_class in (("model", ModelConfig), ("train", TrainConfig)))
    try:
        corpus = load_corpus(data)
    except UserError as e:
        raise UserError(f"{e}. The run in {run.path} began with it; if the text is elsewhere now, name it "
                        f"with --data") from None
    if corpus.sha256 != settings["corpus"]["sha256"]:
        raise UserError(f"corpus {data!r} is not the text that the run in {run.path} began with (its sha256 "
                        f"differs)")
    tokenizer = tokenizer_of(run, model_config.vocab_size, settings["corpus"])
    training, validation = parts(tokens_of(corpus, tokenizer), model_config.context,
                                 train_config.val_fraction)
    saved, note = run.resume(settings)
    if note:
        _command.say(f"note: {note}")
    return Job(run, model_config, train_config, corpus, tokenizer, training, validation, settings, saved)


def tokens_of(corpus, tokenizer):
    """The corpus as token ids, with a progress bar where that takes long."""
    with tqdm(total=corpus.size, unit="B", unit_scale=True, desc="tokens", leave=False, delay=2,
              disable=not sys.stderr.isatty()) as bar:
        return token_stream(corpus, tokenizer, report=bar.update)


def read_config(path):
    """A config.json -> {"model": {...}, "train": {...}, "corpus": {...}, "derived": {...}}. An early one does
    not say what its run derived: all of it counts as chosen."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: config.pop(part, {}) for part in (*PARTS, "derived")}
    except FileNotFoundError:
        raise UserError(f"{path} is not there: expected the config.json of a run") from None
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise UserError(f"{path}: expected a JSON object with the parts model and train") from None
    if config or not all(isinstance(part, dict) for part in (*parts.values(), *parts["derived"].values())):
        raise UserError(f"{path}: expected the parts model and train, each an object of options, found "
                        f"{', '.join(config) or 'others'}")
    return parts


def derived(options, model_config, train_config):
    """What a run derived from the options that it was given (lr from linear and d_model, say)."""
    configs = {"model": model_config, "train": train_config}
    return {part: {f.name: getattr(config, f.name) for f in fields(config)
                   if f.name not in options[part] and getattr(config, f.name) != f.default}
            for part, config in configs.items()}


def chosen(config):
    """The parts of a config.json without what its run derived, so that a run with other flags derives it
    anew. What differs from that was changed in the file since, and so chosen."""
    return {part: {name: value for name, value in config[part].items()
                   if name not in config["derived"].get(part, {}) or value != config["derived"][part][name]}
            for part in ("model", "train")}


def check_space(path, model_config):
    """A run holds up to three checkpoints of three arrays (one being written) and one of one array."""
    needed = 10 * 4 * model_config.n_parameters + 2**20
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if shutil.disk_usage(existing).free < needed:
        raise UserError(f"{path}: the checkpoints need {needed:,} bytes, the disk has "
                        f"{shutil.disk_usage(existing).free:,} free")
