"""Train a model:  python -m minibitnet.train --tiny"""
from . import _command  # first: from here on Ctrl-C is heard

import os
import shutil
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .api import run_at
from .errors import UserError
from .exact import exp_float
from .files import typed
from .fitting import Interruption
from .formats import checkpoint
from .jobs import (CONFIGS, TINY, Start, chosen, is_same_run, job_of, read_config, resolved, resumed_job,
                   start_from, with_directory)
from .measure import results
from .mpi import ranks_of_this_process
from . import together
from .nn.config import ModelConfig
from .nn.training import TrainConfig
from .stories.entropy import language_of
from .text.corpora import load_corpus
from .threads import available_cpus

DESCRIPTION = """Train a BitNet language model from scratch, on a CPU.

    python -m minibitnet.train --tiny                       two minutes: a small ternary model, runs/tiny
    python -m minibitnet.train --data book.txt              a text file of yours
    python -m minibitnet.train --data book.txt --linear float --out runs/baseline
    python -m minibitnet.train --resume runs/book-ternary   go on after an interruption
    python -m minibitnet.train --resume runs/book-ternary --steps 3000      or train longer
    python -m minibitnet.train --init-from runs/tiny --data book.txt        or on another text

Ctrl-C finishes the step, saves and exits 130; a second Ctrl-C exits at once. Exit codes: 0 done, 1 a
mistake, said in one line, 2 usage, 3 the loss became infinite or not-a-number, 130 interrupted (143 by
SIGTERM)."""
BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"      # fits 80 columns
NARROW = "{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"                   # fits 40
TOKENS = {"unit": "B", "unit_scale": True, "desc": "tokens", "delay": 2}


def main(argv):
    """argv -> exit code."""
    ranks = ranks_of_this_process()
    with (open(os.devnull, "w") as nobody, redirect_stderr(nobody if ranks.rank else sys.stderr),
          redirect_stdout(nobody if ranks.rank else sys.stdout)):
        args = parser().parse_args(argv)
    given = {"model": _command.given_options(args, ModelConfig),
             "train": _command.given_options(args, TrainConfig)}
    if args.shard_optimizer:
        ranks.share_optimizer()
    threads = args.threads or ranks.processors(available_cpus())
    with together.ending_together(ranks):
        job, start = together.job_of(ranks, lambda: resumed(args.resume, given) if args.resume
                                     else new(args, given), given["train"].get("data"))
        if ranks.rank:
            return follow(job, threads, ranks, start)
        for note in job.notes:
            _command.say(f"note: {note}")
        try:
            return run(job, threads, ranks, start)
        finally:
            job.run.close()


def follow(job, threads, ranks, start):
    """Run a Job on a rank that writes and says nothing -> exit code."""
    training = together.training_of(ranks, job, start)
    with Interruption(hard=True) as interruption:
        if not training.finished:
            training.go(threads, stopped=lambda: interruption.signal, ranks=ranks)
    return _command.DONE if training.finished else _command.INTERRUPTED


def parser():
    """The command's Parser."""
    parser = _command.Parser("train", DESCRIPTION)
    parser.add_argument("--tiny", action="store_true",
                        help="the small model that trains in about two minutes")
    parser.add_argument("--out", type=_command.path, metavar="DIR",
                        help="where the run goes (runs/tiny, runs/tiny-LINEAR, or runs/DATA-LINEAR)")
    parser.add_argument("--overwrite", action="store_true", help="replace the run that is in DIR")
    parser.add_argument("--resume", type=_command.path, metavar="DIR",
                        help="go on with the run in DIR, with its own configuration; with a larger --steps, "
                             "longer")
    parser.add_argument("--init-from", type=_command.path, metavar="DIR",
                        help="begin with the weights of the run in DIR, its sizes and its tokenizer")
    parser.add_argument("--config", type=_command.path, metavar="FILE",
                        help="take options from a config.json; flags win over it, and what its run derived "
                             "(lr, d-ffn ..) follows them")
    parser.add_argument("--threads", type=_command.thread_count, metavar="N",
                        help="threads to use; the result does not depend on it (one for each processor; of "
                             "several ranks on a machine each has its share)")
    parser.add_argument("--shard-optimizer", action="store_true",
                        help="of several ranks (mpiexec), each keeps a part of the optimizer's state; the "
                             "result is the same")
    _command.add_options(parser, "model", ModelConfig)
    _command.add_options(parser, "training", TrainConfig)
    parser.conflict("--resume", "--tiny", "--out", "--overwrite", "--config", "--init-from",
                    because="--resume DIR goes on with what is in DIR")
    parser.conflict("--init-from", "--tiny", "--config", because="--init-from DIR takes the sizes of DIR")
    return parser


def new(args, given):
    """Flags -> a Job, and a function that makes the run directory, which is to be called when all else has
    been checked."""
    from_file = chosen(read_config(args.config)) if args.config else None
    if from_file:
        from_file["model"].pop("vocab_size", None)       # the tokenizer of this run's corpus decides
    start = start_from(run_at(args.init_from), given) if args.init_from else Start()
    options = resolved(given, tiny=args.tiny, from_file=from_file)
    corpus = load_corpus(options["train"].get("data", TrainConfig.data))
    with _command.bar(total=corpus.size, **TOKENS) as bar:
        job = job_of(options, corpus, where=args.config, tokenizer=start.tokenizer, weights=start.weights,
                     report=bar.update, learning=_command.learning)
    job.notes = start.notes
    linear = job.model_config.linear
    tiny = "tiny" if linear == TINY["model"]["linear"] else f"tiny-{linear}"
    path = args.out or Path("runs") / (tiny if args.tiny else f"{corpus.name}-{linear}")
    if args.init_from and path.resolve() == args.init_from.resolve():
        raise UserError(f"{path} is the run to start from: expected another directory (--out) for the "
                        "new one")
    replace = args.tiny and not args.out and is_same_run(path, job.settings)
    return job, lambda: with_directory(job, path, overwrite=args.overwrite, replace_finished=replace)


def resumed(path, given):
    """A run directory -> the Job to go on with, and what there is to do for its directory: nothing."""
    with _command.bar(**TOKENS) as bar:
        return resumed_job(path, given, report=bar.update), lambda: None


def run(job, threads, ranks, start):
    """Train, print, draw -> exit code."""
    c = job.train_config
    progress = Progress(c.steps, ranks.size)
    training = together.training_of(ranks, job, start, report=progress,
                                    progress=partial(progress.evaluating, job.validation))
    if training.complete:
        if not (job.run.path / "loss.png").exists():
            training.draw()
        print(f"{job.run.path} is finished: {training.start:,} steps of {c.steps:,}. Nothing to do. (--steps "
              "with a larger number trains it longer.)")
        return _command.DONE
    for line in beginning(training, threads):
        print(line, flush=True)
    if job.corpus.has_documents and job.training.windows is None:
        _command.say("note: this tokenizer has no end token, so the lines <|endoftext|> are text like any "
                     "other, and documents are not told apart")
    with Interruption(hard=True, say=_command.say) as interruption, progress.of(training):
        training.go(threads, stopped=lambda: interruption.signal, ranks=ranks)
    drawn = training.finished and training.finish()
    if interruption.signal or not training.finished:       # of several ranks another one may have heard it
        _command.say(f"interrupted after step {training.recorder.done:,}; saved. Go on with: python -m "
                     f"minibitnet.train {typed('--resume', job.run.path)}")
        return 128 + interruption.signal if interruption.signal else _command.INTERRUPTED
    for line in ending(training, drawn):
        print(line, flush=True)
    return _command.DONE


def beginning(training, threads):
    """What is said before the first step."""
    job, c, floor = training.job, training.job.train_config, training.floor
    yield (f"model    {job.model_config.n_parameters:,} parameters, {job.model_config.linear}, context "
           f"{job.model_config.context}")
    known = "" if floor is None else (f", whose perplexity cannot be below {exp_float(floor):.3f} (its "
                                      "source is known)")
    if training.repeats:
        n = job.validation.n_documents
        known = (f", which has no floor: {training.repeats:,} of its {n:,} documents are in the training "
                 "text too")
    replaced = f", {job.corpus.replaced_in_words}" if job.corpus.replaced else ""
    yield (f"corpus   {job.corpus.name}: {job.corpus.size:,} bytes, {job.training.n_targets:,} tokens for "
           f"training, {job.validation.n_targets:,} for validation{known}{replaced}")
    yield (f"run      {job.run.path}, steps {training.start:,} to {c.steps:,} of {c.batch} x "
           f"{job.model_config.context} tokens, {threads} thread{'s' if threads > 1 else ''}, "
           f"learning rate {c.lr:.2g}")


def ending(training, drawn):
    """The last evaluation, a sample, and where everything is."""
    job, floor = training.job, training.floor
    evaluated = [line for line in training.recorder.lines if "val_loss" in line]
    for last in evaluated[-1:]:                  # none, where somebody took metrics.jsonl away
        yield (f"\nvalidation loss {last['val_loss']:.4f} nats/token, perplexity {last['val_ppl']:.3f}, "
               f"{last['bits_per_byte']:.3f} bits per byte")
    told = evaluated and floor is not None
    yield from told_stories(training, last["val_loss"]) if told else sample(training)
    packed, picture = ", packed.safetensors" * job.run.packed.exists(), ", loss.png" * drawn
    yield (f"{job.run.path}: last.safetensors and best.safetensors (model){packed}, metrics.jsonl, "
           f"config.json{picture}")
    prompt = "" if job.tokenizer.end is not None and job.settings["corpus"]["documents"] else typeable(
        opening(job)[:8].partition("\n")[0])
    yield f"Try: python -m minibitnet.generate {typed('--model', job.run.path)} {typed('--prompt', prompt)}"
    name = checkpoint.parameters_sha256(training.transformer.arrays())
    yield f"model sha256 {name}{known_name(job.settings, name)}"


def told_stories(training, loss):
    """How far from perfect, ten stories' worth of how many are right, and one of them."""
    job, floor, model = training.job, training.floor, training.model()
    excess = job.validation.per_document(loss - floor)
    yield (f"the floor is perplexity {exp_float(floor):.3f}: perplexity / floor "
           f"{exp_float(loss - floor):.3f}, {excess:.1f} excess nats per story\n")
    longest = 2 * int(np.diff(job.training.stream.starts).max(initial=500))
    with _command.bar(total=10, unit="story", desc="stories") as bar:
        stories = [(model.generate("", longest, seed=seed), bar.update())[0] for seed in range(10)]
    yield (f"{stories[0]}\n\n{sum(map(is_story, stories))} of 10 stories that it wrote (--temperature 0.8) "
           "are stories of the grammar to the last letter; above, the first one.\n")


def sample(training):
    """How the model goes on from a piece of the validation text."""
    begin = opening(training.job)
    yield (f"\nA sample; the part before | is from the validation text:\n"
           f"{begin}|{training.model().generate(begin, 400)}\n")


def opening(job):
    """A few words of the validation text, from a paragraph's beginning, where there is one."""
    text = job.tokenizer.decode(job.validation.stream.tokens[:4096])
    return text[text.find("\n\n") + 1:].lstrip()[:32] or text[:32]


def typeable(text):
    """Its beginning that a terminal shows and that can be typed again."""
    encoding = sys.stdout.encoding or "utf-8"
    bad = next((i for i, c in enumerate(text)
                if not c.isprintable() or c.encode(encoding, "ignore").decode(encoding) != c), len(text))
    return text[:bad]


def known_name(settings, name):
    """What the recorded tiny run says of a model's name: the same settings give the same bytes on every
    machine."""
    record = results.load("exact")
    tiny = record and record["result"].get("tiny")
    if not tiny or settings != with_newer_fields(tiny["settings"]):
        return ""
    return ", as on every machine" if name == tiny["model_sha256"] else (
        f"; on other machines it is {tiny['model_sha256']}: expected the same, so this installation "
        f"computes something else (env.json says what it is)")


def with_newer_fields(settings):
    """The settings of a run of before, with the defaults of fields that configurations have since."""
    return settings | {section: asdict(config_class(**settings[section]))
                       for section, config_class in CONFIGS.items()}


def is_story(text):
    """Can a grammar tell this text?"""
    return language_of(text) is not None


class Progress:
    """A bar in a terminal; elsewhere a line at every tenth of the way and at every evaluation."""

    def __init__(self, steps, ranks=1):
        self.steps, self.ranks, self.every, self.bar = steps, ranks, max(1, steps // 10), None

    @contextmanager
    def of(self, training):
        """The bar is there while the training of this block runs."""
        self.began, self.start = time.perf_counter(), training.start
        self.floor = "" if training.floor is None else f", floor {exp_float(training.floor):.4g}"
        if sys.stderr.isatty():
            narrow = shutil.get_terminal_size().columns < 72
            self.bar = tqdm(total=self.steps, initial=self.start, dynamic_ncols=True,
                            bar_format=NARROW if narrow else BAR)
        try:
            yield
        finally:
            if self.bar is not None:
                self.bar.close()

    def evaluating(self, validation, batches):
        """Wrap the batches of an evaluation, of several ranks those of the first."""
        of_rank = -(-validation.n_batches() // self.ranks)
        return tqdm(batches, "evaluation", of_rank, leave=False, unit="batch", delay=1,
                    disable=self.bar is None)

    def __call__(self, line):
        """After every step."""
        validation = (f"  validation {line['val_loss']:.4f} (ppl {line['val_ppl']:.4g}{self.floor})"
                      if "val_loss" in line else "")
        if self.bar is not None:
            self.bar.set_postfix_str(f"loss {line['loss']:.3f} {line['tokens_per_s']:,.0f} tok/s",
                                     refresh=False)
            self.bar.update()
            if validation:
                with self.bar.external_write_mode(file=sys.stderr):
                    _command.say(f"step {line['step']:,}{validation}")
        elif validation or line["step"] % self.every == 0:
            a_step = (time.perf_counter() - self.began) / (line["step"] - self.start)
            place, left = f"{line['step']:>{len(str(self.steps))}}/{self.steps}", self.steps - line["step"]
            _command.say(f"step {place}  loss {line['loss']:.4f}  ppl {line['ppl']:.4g}  lr {line['lr']:.2e} "
                         f" {line['tokens_per_s']:,.0f} tok/s  ETA {a_step * left:.0f} s{validation}")


if __name__ == "__main__":
    _command.run(main)
