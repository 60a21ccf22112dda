"""Training as a call: ``fit``. The command train is the same ``Training`` with files and print around it."""
import copy
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import jobs
from .drawing import save_loss
from .errors import UserError
from .files import directory_to_write
from .formats import checkpoint, packed
from .language_model import FloatEngine, LanguageModel, check_switches, check_threads
from .measure import held_out
from .nn.model import Transformer
from .nn.optim import AdamW
from .nn.ranks import ALONE
from .options import check_names
from .nn.training import Recorder, train
from .text.corpora import corpus_of
from .threads import available_cpus, keep_freed_memory


class Training:
    """A Job's model on its way: ``go`` makes the steps that are left, ``model()`` is what there is so far.

    report(line) is called after every step, progress(batches) wraps the batches of an evaluation; lines: of
    the metrics so far, of a run without a directory that goes on.
    """

    def __init__(self, job, report=lambda line: None, progress=iter, lines=()):
        c, saved, run = job.train_config, job.saved, job.run
        self.job, self.start = job, saved.step if saved else 0
        self.transformer = Transformer(job.model_config, c.seed)
        self.optimizer = AdamW(self.transformer.parameters(), c.beta1, c.beta2)
        if saved:
            for ours, theirs in ((self.transformer.arrays(), saved.parameters), (self.optimizer.m, saved.m),
                                 (self.optimizer.v, saved.v)):
                checkpoint.copy_into(ours, theirs, run.last if run else "the interrupted run")
            self.optimizer.t = self.start
        elif job.weights:
            checkpoint.copy_into(self.transformer.arrays(), job.weights, "the model to start from")
        if run:
            run.cut_metrics(self.start)
        entropy = held_out.floor(job.validation, job.tokenizer)
        self.repeats = 0 if entropy is None else held_out.copied(job.validation, job.training, job.tokenizer)
        floor = None if self.repeats else entropy            # what is learnt by heart can cost less
        self.recorder = Recorder(run, job.settings, job.validation,
                                 job.validation.count_bytes(job.tokenizer), floor=floor,
                                 done=self.start, best=saved.best_val_loss if saved else math.inf,
                                 report=report, progress=progress, lines=run.metrics() if run else lines)

    @property
    def floor(self):
        """The least nats per token that any model could need for the validation part; None where unknown."""
        return self.recorder.floor

    @property
    def finished(self):
        """Are all its steps made?"""
        return self.recorder.done >= self.job.train_config.steps

    @property
    def complete(self):
        """Is it finished, and what a finished run leaves there? A packed file from before it was made longer,
        or a damaged one, is not."""
        if not (self.finished and self.job.model_config.variant.has_codes):
            return self.finished
        try:
            found = packed.load(self.job.run.packed, lambda config: self.job.model_config)
            return found.config == self.job.settings
        except UserError:
            return False

    def go(self, threads, stopped=lambda: False, ranks=ALONE):
        """Make the steps that are left, or as many as stopped() allows, of several ranks on each."""
        train(self.transformer, self.optimizer, self.job.train_config, self.job.training, self.recorder,
              threads=threads, stopped=stopped, ranks=ranks)

    def model(self):
        """The LanguageModel of the steps made so far, which more training does not move."""
        recorder, optimizer = self.recorder, self.optimizer
        model = LanguageModel(FloatEngine(copy.deepcopy(self.transformer)), self.job.tokenizer,
                              self.job.settings, recorder.done)
        saved = checkpoint.Checkpoint(recorder.done, recorder.best, self.job.settings, model.latent(),
                                      *copy.deepcopy((optimizer.m, optimizer.v)))
        model.trained = Trained(replace(self.job, saved=saved), tuple(recorder.lines))
        return model

    def finish(self):
        """Whatever a finished run leaves beside its checkpoints: packed.safetensors, loss.png -> was it
        drawn?"""
        run, c = self.job.run, self.job.model_config
        if c.variant.has_codes:
            packed.save(run.packed, self.job.settings, self.recorder.done,
                        *packed.pack(self.transformer.arrays(), c))
        return self.draw()

    def draw(self):
        """loss.png, where it can be drawn -> is it there?"""
        return save_loss(History(self.recorder.lines, self.floor), self.job.run.path / "loss.png")


class Trained(NamedTuple):
    """How a model came about, and what its run needs to go on."""
    job: jobs.Job                # whose ``saved`` is the step that it is at
    lines: tuple                 # of its metrics so far


class History(Mapping):
    """How a run went: ``history["loss"]`` is an array over ``history["step"]``, as the lines of
    metrics.jsonl; an evaluation's columns (val_loss, val_ppl, bits_per_byte) are NaN between evaluations.
    ``floor``: the least validation loss that any model could reach, in nats, or None where the source is not
    known."""

    def __init__(self, lines, floor=None):
        names = dict.fromkeys(name for line in lines for name in line if name != "floor")
        self._columns = {name: np.array([np.nan if line.get(name) is None else line[name] for line in lines])
                         for name in names}
        self.floor = floor

    def __getitem__(self, name) -> NDArray:
        return self._columns[name]

    def __iter__(self):
        return iter(self._columns)

    def __len__(self):
        return len(self._columns)

    def __eq__(self, other):
        return (isinstance(other, History) and self.floor == other.floor and list(self) == list(other)
                and all(np.array_equal(self[name], other[name], equal_nan=True) for name in self))

    __hash__ = None

    def __repr__(self):
        if not self:
            return "<History: no step>"
        losses = self["val_loss"][~np.isnan(self["val_loss"])] if "val_loss" in self else ()
        last = f", validation loss {losses[-1]:.4f}" if len(losses) else ""
        floor = "" if self.floor is None else f" (floor {self.floor:.4f})"
        return f"<History: {self['step'][-1]:,} steps{last}{floor}; {', '.join(self)}>"


class Fit(NamedTuple):
    """What ``fit`` gives: ``model, tokenizer, history = minibitnet.fit(...)``."""
    model: LanguageModel
    tokenizer: Any
    history: History


def fit(data: str | os.PathLike | None = None, *, model: LanguageModel | None = None,
        out: str | os.PathLike | None = None, overwrite: bool = False, tiny: bool = False,
        threads: int | None = None, progress: bool = True, **options: Any) -> Fit:
    """Train a language model -> (model, tokenizer, history).

    data: a text (of more than one line, or of 1,000 characters); or the name of a corpus (``python -m
    minibitnet.data list``), or the path of a text file. options: any field of ``ModelConfig`` and
    ``TrainConfig`` (``linear="float"``, ``steps=200``, ``tokenizer="bpe:512"``), with the defaults of the
    command train; ``tiny=True`` is --tiny.

    model: start from this one's weights, with its sizes and its tokenizer, in a new schedule of learning
    rates. Without data: go on with its own run, where that was interrupted; the result is that of a run
    without interruption, to the last byte. The model itself stays what it is.

    Nothing is written unless out names a directory, for what the command train leaves; overwrite: replace the
    run that is there. The interrupt of a notebook, or Ctrl-C, ends the run after the step it is at, and the
    call gives what there is so far; a second one ends it at once, and nothing is given. threads: at most so
    many, by default one for every processor; the result does not depend on it. Meanwhile BLAS is held to one
    thread. The process keeps freed memory from then on (``threads.keep_freed_memory``).

    UserError for options that are none or do not go together; NonFiniteError where the loss is no number.
    """
    threads = available_cpus() if threads is None else threads
    check_threads(threads)
    check_switches(overwrite=overwrite, tiny=tiny, progress=progress)
    keep_freed_memory()
    if model is not None and not isinstance(model, LanguageModel):
        raise UserError(f"model = {repr(model)[:60]}: expected a model, as fit or load gives it")
    if data is None and model is not None and not (options or out is not None or overwrite or tiny):
        training = _going_on(model)
    elif data is None and not tiny:
        more = "" if model is None else (" (without data a model's own run goes on, which takes no options; "
                                         "a longer one is made in files: save, then train --resume --steps)")
        raise UserError("fit() without data: expected a text, the name of a corpus, or the path of a file"
                        + more)
    else:
        training = Training(_job(data, model, out, overwrite, tiny, options))
    for note in training.job.notes:
        warnings.warn(note, stacklevel=2)
    try:
        with bar(training, progress), Interruption(hard=False) as interruption:
            training.go(threads, stopped=lambda: interruption.signal)
        if training.job.run and training.finished:
            training.finish()
    finally:
        if training.job.run:
            training.job.run.close()
    trained = training.model()
    return Fit(trained, trained.tokenizer, History(training.recorder.lines, training.floor))


def _going_on(model):
    """The Training of a model whose run was interrupted."""
    if model.trained is None:
        raise UserError("fit(model=...) of a model that was read from files or packed: expected data to "
                        "train it on (train --resume goes on with a run in files)")
    job, lines = model.trained
    if model.step >= job.train_config.steps:
        raise UserError(f"fit(model=...): this model's run is finished, {model.step:,} steps of "
                        f"{job.train_config.steps:,}: expected data to train it on")
    if job.run:
        saved, _ = job.run.resume(job.settings)
        if saved is None or saved.step != model.step:
            job.run.close()
            raise UserError(f"fit(model=...): the run in {job.run.path} went on, to another step than this "
                            f"model's, {model.step:,}: expected its newest model")
    return Training(job, lines=lines)


def _job(data, model, out, overwrite, tiny, options):
    """The Job of a call of ``fit``."""
    check_names(options, *jobs.CONFIGS.values())
    given = {section: {f.name: options[f.name] for f in fields(config) if f.name in options}
             for section, config in jobs.CONFIGS.items()}
    weights = model and model.latent("fit(model=...)")
    if model is not None:
        jobs.take_sizes(model.settings, given)
    out = None if out is None else directory_to_write(out)
    corpus, given["train"]["data"] = corpus_of(jobs.TINY["train"]["data"] if data is None else data)
    chosen = jobs.resolved(given, tiny=tiny)
    job = jobs.job_of(chosen, corpus, tokenizer=model and model.tokenizer, weights=weights)
    return jobs.with_directory(job, out, overwrite=overwrite) if out is not None else job


class Interruption:
    """Inside this block the first Ctrl-C (or SIGTERM) only sets ``signal``. The second ends the process at
    once (hard), or raises KeyboardInterrupt. One that this process ignores stays ignored, and outside the
    main thread, which alone hears them, nothing is changed."""

    def __init__(self, hard, say=lambda text: None):
        self.signal, self.hard, self.say = None, hard, say
        numbers = (signal.SIGINT, signal.SIGTERM) if hard else (signal.SIGINT,)
        self.numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN
                        and threading.current_thread() is threading.main_thread()]

    def __enter__(self):
        self._before = {number: signal.signal(number, self._handle) for number in self.numbers}
        return self

    def _handle(self, number, frame):
        if self.signal and self.hard:
            # every file is written under another name first, so nothing is lost
            os._exit(128 + number)
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
        self.say("\nstopping after this step; again to stop at once")

    def __exit__(self, *exception):
        for number, handler in self._before.items():
            signal.signal(number, handler)


class Unfailing:
    """sys.stderr, for a bar: what it cannot write is not written, and the work goes on."""

    def write(self, text):
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self):
        with suppress(OSError):
            sys.stderr.flush()

    def __getattr__(self, name):
        return getattr(sys.stderr, name)


@contextmanager
def bar(training, show):
    """A progress bar while the training of this block runs: a widget in a notebook that has ipywidgets, else
    text."""
    if not show or sys.stderr is None:           # pythonw, or a closed one
        yield
        return
    try:
        import ipywidgets  # noqa: F401
        from tqdm.auto import tqdm
    except ImportError:
        from tqdm import tqdm
    recorder = training.recorder
    with tqdm(total=training.job.train_config.steps, initial=recorder.done, unit="step",
              file=Unfailing()) as shown:
        def report(line):
            validation = f", validation {line['val_loss']:.4f}" if "val_loss" in line else ""
            if validation or line["step"] % 10 == 0:
                shown.set_postfix_str(f"loss {line['loss']:.4f}{validation}", refresh=False)
            shown.update()
        recorder.report = report
        yield
