"""A training run before its first step: options and a text -> a Job in which all has been checked."""
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, NamedTuple

import numpy as np

from .api import latest, model_of, tokenizer_of
from .errors import UserError
from .files import check_space, read_text
from .formats import checkpoint
from .formats.rundir import RunDirectory, tokenizer_sha256
from .nn.config import ModelConfig, check_size
from .nn.training import TrainConfig, schedule, with_defaults
from .options import from_json
from .text.batches import Part, parts
from .text.corpora import Corpus, load_corpus, texts
from .text.streams import token_stream
from .text.tokenizer import make_tokenizer

# What --tiny means; options given beside it win.
TINY = {"model": {"linear": "ternary", "d_model": 128, "n_layers": 4, "n_heads": 4, "context": 256},
        "train": {"data": "stories", "tokenizer": "bpe:512", "batch": 4, "steps": 1300, "lr": 8e-3}}
CONFIGS = {"model": ModelConfig, "train": TrainConfig}
SECTIONS = (*CONFIGS, "corpus")          # of a config.json, which every model file of its run repeats
MAX_STEP_TOKENS = 2**20


@dataclass
class Job:
    """A run that is ready to start or to go on: what a user can get wrong has been checked."""
    model_config: ModelConfig
    train_config: TrainConfig
    corpus: Corpus
    tokenizer: Any
    training: Part                                 # of the corpus
    validation: Part
    settings: dict                                 # config.json, but for
    derived: dict                                  # what the run derived from the options that it was given
    run: RunDirectory | None = None                # None: nothing is written
    saved: checkpoint.Checkpoint | None = None     # where to go on from
    weights: dict | None = None                    # {name: array}: what to start from, in place of a seed's
    notes: tuple = ()                              # what its user should know, one line each


def resolved(given, *, tiny=False, from_file=None):
    """Options as they were given -> all that are chosen: of --tiny, then of a config.json, then these."""
    from_file = from_file or {section: {} for section in CONFIGS}
    options = {section: {**(TINY[section] if tiny else {}), **from_file[section], **given[section]}
               for section in CONFIGS}
    named = from_file["train"] | given["train"]
    if options["train"].get("data") != TINY["train"]["data"] and "tokenizer" not in named:
        # the tiny run's vocabulary is for the stories; a small text has not so many pairs
        options["train"].pop("tokenizer", None)
    same = all(options["model"].get(name) == TINY["model"][name] for name in ("linear", "d_model"))
    if not same and "lr" not in named:
        options["train"].pop("lr", None)             # and its learning rate is for its own variant and width
    return options


def job_of(options, corpus, *, where=None, tokenizer=None, weights=None, report=lambda n: None,
           learning=iter):
    """Chosen options and a Corpus -> a Job that writes nothing. tokenizer: one that is there already; weights
    {name: array}: what to start from; where: the file that options come from, for messages; report(n): after
    every n bytes that became tokens; learning: as ``progress`` of ``make_tokenizer``."""
    train_config = from_json(TrainConfig, options["train"], where)
    if tokenizer is None:
        tokenizer = make_tokenizer(train_config.tokenizer, texts(corpus), corpus.has_documents, learning)
    model_config = from_json(ModelConfig, {"vocab_size": tokenizer.vocab_size, **options["model"]}, where)
    if model_config.vocab_size != tokenizer.vocab_size:
        raise UserError(f"vocab_size = {model_config.vocab_size:,}: the tokenizer has "
                        f"{tokenizer.vocab_size:,} tokens; leave vocab_size out")
    training, validation = parts(token_stream(corpus, tokenizer, report=report), model_config.context,
                                 train_config.val_fraction)
    train_config = with_defaults(train_config, model_config)
    check_size(model_config)
    if train_config.batch * model_config.context > MAX_STEP_TOKENS:
        raise UserError(f"batch = {train_config.batch:,} of context = {model_config.context:,} tokens: "
                        f"expected at most {MAX_STEP_TOKENS:,} tokens a step; is a size mistyped?")
    settings = {"model": asdict(model_config), "train": asdict(train_config),
                "corpus": {"name": corpus.name, "sha256": corpus.sha256, "replaced": corpus.replaced,
                           "documents": validation.n_documents is not None,
                           "tokenizer_sha256": tokenizer_sha256(tokenizer)}}
    if weights:                                  # another start, another run
        settings["corpus"]["start"] = checkpoint.parameters_sha256(weights)
    return Job(model_config, train_config, corpus, tokenizer, training, validation, settings,
               derived(options, model_config, train_config), weights=weights)


def with_directory(job, path, **how):
    """The Job, with a run directory made for it. how: as of ``RunDirectory.create``."""
    job.run = run = RunDirectory(path)
    # up to three checkpoints of three arrays (one being written), and one of one array
    check_space(run.path, 10 * 4 * job.model_config.n_parameters + 2**20)
    run.create(job.settings | {"derived": job.derived}, job.tokenizer, **how)
    job.notes += (run.note,) if run.note else ()
    if job.weights:                              # of step 0: a run that is killed early goes on from them
        m, v = ({name: np.zeros_like(a) for name, a in job.weights.items()} for _ in "mv")
        with run.let_go():
            checkpoint.save(run.last, checkpoint.Checkpoint(0, math.inf, job.settings, job.weights, m, v))
    return job


def resumed_job(path, given, report=lambda n: None):
    """A run directory -> the Job to go on with. Options that were given must say what the run says, but for
    the place of the text, and for more steps."""
    run = RunDirectory(path)
    config = read_config(run.path / "config.json")
    settings = {section: config[section] for section in SECTIONS}        # "derived" no other file repeats
    if "sha256" not in settings["corpus"]:
        raise UserError(f"{run.path / 'config.json'}: expected the corpus's sha256; the file is damaged")
    elsewhere = given["train"].pop("data", None)                         # the text may have moved
    data = elsewhere or settings["train"].get("data")
    steps = given["train"].pop("steps", None)
    for section, options in given.items():
        for name, value in options.items():
            kept = settings[section].get(name)
            if kept != value:
                raise UserError(f"--{name.replace('_', '-')} {value}: the run in {run.path} has {kept}, and "
                                f"a resumed run keeps its configuration")
    model_config, train_config = (from_json(config_class, settings[section], run.path / "config.json")
                                  for section, config_class in CONFIGS.items())
    if steps is not None and steps < train_config.steps:
        raise UserError(f"--steps {steps}: the run in {run.path} has {train_config.steps}: expected as "
                        "many, or more to train longer")
    try:
        corpus = load_corpus(data)
    except UserError as e:
        if elsewhere:
            raise
        raise UserError(f"{e}. The run in {run.path} began with it; if the text is elsewhere now, name it "
                        f"with --data") from None
    if corpus.sha256 != settings["corpus"]["sha256"]:
        raise UserError(f"corpus {data!r} is not the text that the run in {run.path} began with (its sha256 "
                        f"differs)")
    tokenizer = tokenizer_of(run, model_config.vocab_size, settings["corpus"])
    training, validation = parts(token_stream(corpus, tokenizer, report=report), model_config.context,
                                 train_config.val_fraction)
    saved, note = run.resume(settings)
    job = Job(model_config, train_config, corpus, tokenizer, training, validation, settings,
              config["derived"], run, saved, notes=tuple(filter(None, (run.note, note))))
    return longer(job, config, steps) if steps not in (None, train_config.steps) else job


def read_config(path):
    """A config.json -> {"model": {...}, "train": {...}, "corpus": {...}, "derived": {...}, "before": [...]}.
    An early one does not say what its run derived: all of it counts as chosen."""
    try:
        config = json.loads(read_text(path))
        found = {section: config.pop(section, {}) for section in (*SECTIONS, "derived")}
        before = config.pop("before", [])
    except FileNotFoundError:
        raise UserError(f"{path} is not there: expected the config.json of a run") from None
    except UserError:                            # of a path that is no file; also a ValueError
        raise
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise UserError(f"{path}: expected a JSON object with the parts model and train") from None
    objects = (*found.values(), *(found["derived"].values() if isinstance(found["derived"], dict) else ()))
    if config or not all(isinstance(section, dict) for section in objects):
        raise UserError(f"{path}: expected the parts model and train, each an object of options, found "
                        f"{', '.join(config) or 'others'}")
    return found | {"before": before}


def derived(options, model_config, train_config):
    """What a run derived from the options that it was given (lr from linear and d_model, say)."""
    configs = {"model": model_config, "train": train_config}
    return {section: {f.name: getattr(config, f.name) for f in fields(config)
                      if f.name not in options[section] and getattr(config, f.name) != f.default}
            for section, config in configs.items()}


def chosen(config):
    """The sections of a config.json without what its run derived, so that a run with other options derives it
    anew. What differs from that was changed in the file since, and so chosen."""
    return {section: {name: value for name, value in config[section].items()
                      if name not in config["derived"].get(section, {})
                      or value != config["derived"][section][name]}
            for section in CONFIGS}


def longer(job, config, steps):
    """A resumed Job that goes on to more steps than its run was made with. The run's files so far carry the
    configuration of then, so config.json keeps it, under "before"."""
    options, old = chosen(config), job.settings
    options["train"]["steps"] = steps
    job.train_config = with_defaults(from_json(TrainConfig, options["train"], None), job.model_config)
    job.settings = old | {"train": asdict(job.train_config)}
    job.derived = derived(options, job.model_config, job.train_config)
    job.run.change(job.settings | {"derived": job.derived, "before": [*config["before"], old]})
    if done := job.saved.step if job.saved else 0:
        lr, _ = schedule(job.train_config, done)
        job.notes += (f"from step {done:,} on, learning rate and weight decay are those of a run of "
                      f"{steps:,} steps (now {lr:.2g}): the model will not be that of {steps:,} steps from "
                      "the beginning",)
    return job


def is_same_run(path, settings):
    """Is there a run in this directory with these settings? Its replacement is the same run again. (One that
    was made longer since is another.)"""
    try:
        return settings in (RunDirectory(path).configurations() or [])[:1]
    except UserError:
        return False


class Start(NamedTuple):
    """What a new run takes over from an older one, if there is one."""
    weights: dict | None = None        # {name: array}
    tokenizer: Any = None
    notes: tuple = ()


def start_from(run, given):
    """The Start of another RunDirectory. Its sizes and its tokenizer are written into the options given;
    UserError for one that says something else."""
    notes = []
    saved, path = latest(run, warn=notes.append)
    transformer = model_of(saved, path)
    take_sizes({"model": asdict(transformer.config), "train": saved.config["train"]}, given)
    tokenizer = tokenizer_of(run, transformer.config.vocab_size, saved.config["corpus"])
    return Start(transformer.arrays(), tokenizer, tuple(notes))


def take_sizes(settings, given):
    """Write the model's sizes and the tokenizer's kind into the options given; UserError for an option that
    says something else."""
    for name, value in given["model"].items():
        kept = settings["model"].get(name)
        if value != kept:
            raise UserError(f"{name} = {value}: the model to start from has {kept}, and keeps its sizes")
    if (value := given["train"].get("tokenizer")) not in (None, settings["train"]["tokenizer"]):
        raise UserError(f"tokenizer = {value}: the model to start from has "
                        f"{settings['train']['tokenizer']}, and keeps it")
    given["model"] = dict(settings["model"])
    given["train"]["tokenizer"] = settings["train"]["tokenizer"]
