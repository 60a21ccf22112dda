"""Train a model:  python -m minibitnet.train --tiny"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import math
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .api import FloatEngine, LanguageModel
from .errors import UserError
from .exact import exp_float
from .measure import held_out, plotting, results
from .formats import checkpoint, packed
from .jobs import new_job, resumed_job
from .nn.config import ModelConfig
from .nn.model import Transformer
from .nn.optim import AdamW
from .nn.training import Recorder, TrainConfig, train
from .text.batches import repeated
from .stories.walk import read

DESCRIPTION = """Train a BitNet language model from scratch, on a CPU.

    python -m minibitnet.train --tiny                       two minutes: a small ternary model, runs/tiny
    python -m minibitnet.train --data book.txt              a text file of yours
    python -m minibitnet.train --data book.txt --linear float --out runs/baseline
    python -m minibitnet.train --resume runs/book-ternary   go on after an interruption

Ctrl-C finishes the step, saves and exits 130; a second Ctrl-C exits at once. Exit codes: 0 done, 1 a
mistake, told in one line, 2 usage, 3 the loss became infinite or not-a-number, 130 interrupted (143 by
SIGTERM)."""


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
          f"training, {job.validation.n_targets:,} for validation{known}{replaced}")
    print(f"run      {job.run.path}, steps {start:,} to {c.steps:,} of {c.batch} x "
          f"{job.model_config.context} tokens, {threads} thread{'s' if threads > 1 else ''}, "
          f"learning rate {c.lr:.2g}", flush=True)

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
        above = last["val_ppl"] / exp_float(last["floor"])
        excess = job.validation.per_document(last["val_loss"] - last["floor"])
        print(f"the floor is perplexity {exp_float(last['floor']):.3f}: perplexity / floor {above:.3f}, "
              f"{excess:.1f} excess nats per story\n")
        longest = 2 * int(np.diff(job.training.stream.starts).max(initial=500))
        stories = [speaker.generate("", longest, seed=seed) for seed in range(10)]
        print(f"{stories[0]}\n\n{sum(map(is_story, stories))} of 10 stories that it told (--temperature "
              f"0.8) are stories of the grammar to the last letter; above, the first one.\n")
    else:
        validation = job.tokenizer.decode(job.validation.stream.tokens[:4096])
        # from a paragraph's beginning, where there is one
        begin = validation[validation.find("\n\n") + 1:][:32]
        print(f"\nA sample; the part before | is from the validation "
              f"text:\n{begin}|{speaker.generate(begin, 400)}\n")
        prompt = '"The "' if speaker.begin is None else prompt
    parameters = {name: p.data for name, p in model.parameters().items()}
    if job.model_config.variant.has_codes:
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
    if not tiny or settings != {part: tiny["settings"].get(part) for part in settings}:
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
