"""Train a model:  python -m minibitnet.train --tiny"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import json
import math
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .api import FloatEngine, LanguageModel, tokenizer_of
from .errors import UserError
from .exact import exp_float
from .measure import held_out, plotting, results
from .formats import checkpoint, packed
from .formats.rundir import RunDirectory, tokenizer_sha256
from .nn.config import ModelConfig, check_size
from .nn.model import Transformer
from .nn.optim import AdamW
from .nn.training import Recorder, TrainConfig, train, with_defaults
from .options import from_json
from .text.batches import Part, parts, repeated
from .text.corpora import Corpus, load_corpus, texts
from .stories.walk import read
from .text.streams import token_stream
from .text.tokenizer import make_tokenizer

DESCRIPTION = """Train a BitNet language model from scratch, on a CPU.

    python -m minibitnet.train --tiny                       two minutes: a small ternary model, runs/tiny
    python -m minibitnet.train --data book.txt              a text file of yours
    python -m minibitnet.train --data book.txt --linear float --out runs/baseline
    python -m minibitnet.train --resume runs/book-ternary   go on after an interruption

Ctrl-C finishes the step, saves and exits 130; a second Ctrl-C exits at once. Exit codes: 0 done, 1 a
mistake, told in one line, 2 usage, 3 the loss became infinite or not-a-number, 130 interrupted (143 by
SIGTERM)."""

# What --tiny means; flags given beside it win.
TINY = {"model": {"linear": "ternary", "d_model": 128, "n_layers": 4, "n_heads": 4, "context": 256},
        "train": {"data": "stories", "tokenizer": "bpe:512", "batch": 4, "steps": 1300, "lr": 8e-3}}
MAX_STEP_TOKENS = 2**20


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("train", DESCRIPTION)
    parser.add_argument("--tiny", action="store_true",
                        help="the small model that trains in about two minutes")
    parser.add_argument("--out", type=Path, metavar="DIR",
                        help="where the run goes (runs/tiny, or runs/DATA-LINEAR)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that is in DIR")
    parser.add_argument("--resume", type=Path, metavar="DIR",
                        help="go on with the run in DIR, with its own configuration")
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help="take options from a config.json; flags win over it, and what its run derived "
                             "(lr, d-ffn ..) follows them")
    parser.add_argument("--threads", type=_command.positive_int, default=_command.available_cpus(),
                        metavar="N",
                        help="threads to use (%(default)s); the result does not depend on it")
    _command.add_options(parser, "model", ModelConfig)
    _command.add_options(parser, "training", TrainConfig)
    args = parser.parse_args(argv)
    if args.resume and (args.tiny or args.out or args.overwrite or args.config):
        parser.error("--resume DIR goes on with what is in DIR: --tiny, --out, --overwrite and --config do "
                     "not go with it")
    given = {"model": _command.given_options(args, ModelConfig),
             "train": _command.given_options(args, TrainConfig)}

    job = resumed_job(args.resume, given) if args.resume else new_job(args, given)
    try:
        if job.saved and job.saved.step >= job.train_config.steps:
            print(f"{job.run.path} is finished: {job.saved.step:,} steps of {job.train_config.steps:,}. "
                  f"Nothing to do.")
            return _command.DONE
        return fit(job, args.threads)
    finally:
        job.run.close()


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
    if options["train"].get("data") != TINY["train"]["data"] and "tokenizer" not in from_file["train"] | given["train"]:
        # the tiny run's vocabulary is for the stories; a small text has not so many pairs
        options["train"].pop("tokenizer", None)
    if any(options["model"].get(name) != TINY["model"][name]
           for name in ("linear", "d_model")) and "lr" not in from_file["train"] | given["train"]:
        options["train"].pop("lr", None)             # and its learning rate is for its own arm and width
    train_config = from_json(TrainConfig, options["train"], args.config)
    corpus = load_corpus(train_config.data)
    tokenizer = make_tokenizer(train_config.tokenizer, texts(corpus), end=corpus.has_documents)
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
                        f"expected at most {MAX_STEP_TOKENS:,} "
                        f"tokens a step; is a size mistyped?")
    check_space(run.path, model_config)
    run.create(settings, tokenizer, overwrite=args.overwrite, replace_finished=args.tiny and not args.out)
    return Job(run, model_config, train_config, corpus, tokenizer, training, validation, settings)


def resumed_job(path, given):
    """A run directory -> the Job to go on with; flags that were given must say what the run says."""
    run = RunDirectory(path)
    settings = read_config(run.path / "config.json")
    if "sha256" not in settings["corpus"]:
        raise UserError(f"{run.path / 'config.json'}: expected the corpus's sha256; the file is damaged")
    data = given["train"].pop("data", settings["train"].get("data"))      # the text may have moved
    for section, options in given.items():
        for name, value in options.items():
            kept = settings[section].get(name)
            if kept != value:
                raise UserError(f"--{name.replace('_', '-')} {value}: the run in {run.path} has {kept}, and "
                                f"a resumed "
                                f"run keeps its configuration")
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
    """A config.json -> {"model": {...}, "train": {...}, "corpus": {...}}."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        parts = {part: config.pop(part, {}) for part in ("model", "train", "corpus")}
    except FileNotFoundError:
        raise UserError(f"{path} is not there: expected the config.json of a run") from None
    except (ValueError, RecursionError, AttributeError, TypeError):
        raise UserError(f"{path}: expected a JSON object with the parts model and train") from None
    if config or not all(isinstance(part, dict) for part in parts.values()):
        raise UserError(f"{path}: expected the parts model and train, each an object of options, found "
                        f"{', '.join(config) or 'others'}")
    return parts


def chosen(config):
    """The parts of a config.json without what its run derived from the rest (lr from linear and d_model,
    say), so that a run with other flags derives it anew. It is known by this: left out, it becomes what it
    was, and that is not the option's plain default."""
    plain = {f.name: f.default for config_class in (ModelConfig, TrainConfig) for f in fields(config_class)}

    def derived(part, name):
        rest = {**config, part: {other: value for other, value in config[part].items() if other != name}}
        try:
            model_config = from_json(ModelConfig, rest["model"], None)
            train_config = with_defaults(from_json(TrainConfig, rest["train"], None), model_config)
        # flags may still complete it; if not, the mistake will be told
        except UserError:
            return False
        return (asdict(model_config) | asdict(train_config))[name] == config[part][name]
    return {part: {name: value for name, value in config[part].items() if plain.get(name, value) == value
                   or not derived(part, name)}
            for part in ("model", "train")}


def check_space(path, model_config):
    """A run holds up to three checkpoints of three arrays (one being written) and one of one array."""
    needed = 10 * 4 * model_config.n_parameters + 2**20
    existing = next(p for p in (path, *path.absolute().parents) if p.exists())
    if shutil.disk_usage(existing).free < needed:
        raise UserError(f"{path}: the checkpoints need {needed:,} bytes, the disk has "
                        f"{shutil.disk_usage(existing).free:,} free")


def fit(job, threads):
    """Train, print, draw -> exit code."""
    c, saved, start = job.train_config, job.saved, job.saved.step if job.saved else 0
    model = Transformer(job.model_config, c.seed)
    parameters = model.parameters()
    optimizer = AdamW(parameters, c.beta1, c.beta2)
    if saved:
        for ours, theirs in (({name: p.data for name, p in parameters.items()}, saved.parameters),
                             (optimizer.m, saved.m), (optimizer.v, saved.v)):
            checkpoint.copy_into(ours, theirs, job.run.last)
        optimizer.t = start
    job.run.cut_metrics(start)
    replaced = (f", {job.corpus.replaced:,} places were not UTF-8 and became U+FFFD" if job.corpus.replaced
                else "")
    print(f"model    {job.model_config.n_parameters:,} parameters, {job.model_config.linear}, context "
          f"{job.model_config.context}")
    floor = held_out.floor(job.validation, job.tokenizer)
    if job.corpus.has_documents and job.training.windows is None:
        _command.say("note: this tokenizer has no end token, so the lines <|endoftext|> are text like any "
                     "other, and documents are not told apart")
    repeats = 0 if floor is None else repeated(job.validation, job.training)
    known = ("" if floor is None else f", whose perplexity cannot be below {exp_float(floor):.3f} (its "
                                      f"source is known)")
    if repeats:                                      # what is learnt by heart can cost less
        floor, known = (None, f", which has no floor: {repeats:,} of its {job.validation.n_documents:,} "
                              f"documents are in the training text too")
    print(f"corpus   {job.corpus.name}: {job.corpus.size:,} bytes, {job.training.n_targets:,} tokens for "
          f"training, "
          f"{job.validation.n_targets:,} for validation{known}{replaced}")
    print(f"run      {job.run.path}, steps {start:,} to {c.steps:,} of {c.batch} x "
          f"{job.model_config.context} tokens, "
          f"{threads} thread{'s' if threads > 1 else ''}, learning rate {c.lr:.2g}", flush=True)

    with Interruption() as interruption, Progress(start, c.steps, floor) as progress:
        recorder = Recorder(job.run, job.settings, job.validation,
                            job.validation.count_bytes(job.tokenizer), floor=floor,
                            done=start, best=saved.best_val_loss if saved else math.inf, report=progress)
        done = train(model, optimizer, c, job.training, recorder, threads=threads,
                     stopped=lambda: interruption.signal)
    if done < c.steps:
        _command.say(f"interrupted after step {done:,}; saved. Go on with: python -m minibitnet.train "
                     f"--resume {job.run.path}")
        return 128 + interruption.signal
    finish(job, model)
    return _command.DONE


def finish(job, model):
    """Print the last evaluation, a sample, and where everything is."""
    last = [line for line in job.run.metrics() if "val_loss" in line][-1]
    print(f"\nvalidation loss {last['val_loss']:.4f} nats/token, perplexity {last['val_ppl']:.3f}, "
          f"{last['bits_per_byte']:.3f} bits per byte")
    speaker = LanguageModel(FloatEngine(model), job.tokenizer, job.settings)
    prompt = '""'
    if last["floor"] is not None:
        print(f"the floor is perplexity {exp_float(last['floor']):.3f}: the model has "
              f"{last['val_ppl'] / exp_float(last['floor']):.3f} times that, "
              f"{job.validation.per_document(last['val_loss'] - last['floor']):.1f} nats too many for a "
              f"story\n")
        longest = 2 * int(np.diff(job.training.stream.starts).max(initial=500))
        stories = [speaker.generate("", longest, seed=seed) for seed in range(10)]
        print(f"{stories[0]}\n\n{sum(map(is_story, stories))} of 10 stories that it told (--temperature "
              f"0.8) are stories of the grammar to the last "
              f"letter; above, the first one.\n")
    else:
        validation = job.tokenizer.decode(job.validation.stream.tokens[:4096])
        # from a paragraph's beginning, where there is one
        begin = validation[validation.find("\n\n") + 1:][:32]
        print(f"\nA sample; the part before | is from the validation "
              f"text:\n{begin}|{speaker.generate(begin, 400)}\n")
        prompt = '"The "' if speaker.begin is None else prompt
    parameters = {name: p.data for name, p in model.parameters().items()}
    if job.model_config.linear in packed.QUANTIZERS:
        packed.save(job.run.packed, job.settings, job.train_config.steps,
                    *packed.pack(parameters, job.model_config))
    drawn = plotting.loss_figure(job.run.metrics(), job.run.path / "loss.png")
    print(f"{job.run.path}: last.safetensors and best.safetensors "
          f"(model){', packed.safetensors' * job.run.packed.exists()}, metrics.jsonl, "
          f"config.json{', loss.png' if drawn else ''}")
    print(f"Try: python -m minibitnet.generate --model {job.run.path} --prompt {prompt}")
    name = checkpoint.parameters_sha256(parameters)
    print(f"model sha256 {name}{known_name(job.settings, name)}")


def known_name(settings, name):
    """What the recorded tiny run says of a model's name: the same settings give the same bytes on every
    machine."""
    record = results.load("exact")
    tiny = record and record["result"].get("tiny")
    if not tiny or settings != tiny["settings"]:
        return ""
    return ", as on every machine" if name == tiny["model_sha256"] else (
        f"; on other machines it is {tiny['model_sha256']}: expected the same, so this installation "
        f"computes something else (env.json says what it is)")


def is_story(text):
    """Can the grammar tell this text?"""
    try:
        return bool(read(text))
    except UserError:
        return False


class Interruption:
    """Inside this block the first Ctrl-C (or SIGTERM) only sets ``signal``; the second one ends the process
    at once."""

    def __enter__(self):
        self.signal = None
        self._before = {number: signal.signal(number, self._handle)
                        for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _handle(self, number, frame):
        if self.signal:
            # every file is written under another name first, so nothing is lost
            os._exit(128 + number)
        self.signal = number
        _command.say("\nstopping after this step; again to stop at once")

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Progress:
    """A bar in a terminal; elsewhere a line at every tenth of the way and at every evaluation."""

    def __init__(self, start, steps, floor=None):
        self.steps, self.every = steps, max(1, steps // 10)
        self.floor = "" if floor is None else f", floor {exp_float(floor):.4g}"
        self.bar = tqdm(total=steps, initial=start, unit="step",
                        dynamic_ncols=True) if sys.stderr.isatty() else None
        self.began, self.start = time.perf_counter(), start

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.close()

    def __call__(self, line):
        validation = (f"  validation {line['val_loss']:.4f} (ppl {line['val_ppl']:.4g}{self.floor})"
                      if "val_loss" in line else "")
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {line['loss']:.3f} ppl {line['ppl']:.4g} lr {line['lr']:.1e} "
                                     f"{line['tokens_per_s']:,.0f} tok/s", refresh=False)
            self.bar.update()
            if validation:
                self.bar.write(f"step {line['step']:,}{validation}", file=sys.stderr)
        elif validation or line["step"] % self.every == 0:
            eta = (time.perf_counter() - self.began) / (line["step"]
                                                        - self.start) * (self.steps - line["step"])
            _command.say(f"step {line['step']:>{len(str(self.steps))}}/{self.steps}  loss "
                         f"{line['loss']:.4f}  ppl {line['ppl']:.4g}  "
                         f"lr {line['lr']:.2e}  {line['tokens_per_s']:,.0f} tok/s  ETA {eta:.0f} "
                         f"s{validation}")


if __name__ == "__main__":
    _command.run(main)
