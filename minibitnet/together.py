"""A Job on every rank: rank 0 makes it, and with it the run directory; the others read the same text and make
the same Job without one."""
import json
import sys
import time
import traceback
from contextlib import contextmanager

from . import jobs
from .errors import NonFiniteError, OneLine, UserError
from .fitting import Training
from .mpi import source_sha256
from .nn.config import ModelConfig
from .nn.training import TrainConfig
from .options import from_json
from .text.batches import parts
from .text.corpora import load_corpus
from .text.streams import token_stream
from .text.tokenizer import from_json as tokenizer_of


GRACE = 1.0                # seconds, in which rank 0 says what all have heard


class Agreed(UserError):
    """A mistake that all ranks have heard of."""


@contextmanager
def ending_together(ranks):
    """What ends one rank ends all: nobody waits for it. A mistake that all have heard of, or have found at
    the same step, rank 0 says; one that a rank alone has (no memory, a full disk) it says itself. Of Ctrl-C
    before the first step a rank may not hear: it waits for another, and is ended with it."""
    try:
        yield
    except SystemExit:
        raise
    except BaseException as e:
        for of_all, code in ((Agreed, 1), (NonFiniteError, 3)):
            if ranks.rank and isinstance(e, of_all):
                raise SystemExit(code) from None
            if isinstance(e, of_all):
                raise
        if ranks.size == 1:
            raise
        if isinstance(e, KeyboardInterrupt):
            if ranks.rank:
                time.sleep(GRACE)
            else:
                print("interrupted", file=sys.stderr, flush=True)
            ranks.abort(130)
        elif isinstance(e, OneLine | OSError | MemoryError):
            of_rank, text = f"rank {ranks.rank}: " if ranks.rank else "", " ".join(str(e).split())
            print(f"error: {of_rank}{text or 'out of memory'}", file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        ranks.abort(1)


def job_of(ranks, make, data=None):
    """make() -> a Job and a function that makes its directory, both on rank 0; data: the text of the other
    ranks, where it is elsewhere -> each rank's Job, and the step that it is at. Agreed, on all of them, for
    what is wrong on one: then no directory has been made."""
    if ranks.size == 1:
        job, make_directory = make()
        make_directory()
        return job, step_of(job)
    with agreeing(ranks):
        job, make_directory = make() if ranks.rank == 0 else (None, None)
    _, said = ranks.told("" if ranks.rank else json.dumps({
        "settings": job.settings, "tokenizer": job.tokenizer.to_json(), "start": step_of(job),
        "source": source_sha256()}))
    said = json.loads(said)
    try:
        with agreeing(ranks):
            job = copy_of(said, data) if ranks.rank else job
        with agreeing(ranks):
            if ranks.rank == 0:
                make_directory()
    except Agreed:
        if job and job.run:
            job.run.close()
        raise
    return job, said["start"]


@contextmanager
def agreeing(ranks):
    """Agreed, on all ranks, for a UserError that one of them has in this block."""
    wrong = ""
    try:
        yield
    except UserError as e:
        wrong = str(e)
    rank, text = ranks.told(wrong)
    if rank >= 0:
        raise Agreed(f"rank {rank}: {text}" if rank else text)


def step_of(job):
    """The step that a Job goes on from."""
    return job.saved.step if job.saved else 0


def copy_of(said, data):
    """What rank 0 said of its Job -> the same without a directory."""
    if said["source"] != source_sha256():
        raise UserError("minibitnet's own files differ from those of rank 0: expected the same version")
    settings = said["settings"]
    c, t = from_json(ModelConfig, settings["model"], None), from_json(TrainConfig, settings["train"], None)
    corpus, tokenizer = load_corpus(data or t.data), tokenizer_of(said["tokenizer"], "rank 0's tokenizer")
    if corpus.sha256 != settings["corpus"]["sha256"]:
        raise UserError(f"corpus {t.data!r} is another text than rank 0's (its sha256 differs): expected the "
                        "same file on every machine")
    training, validation = parts(token_stream(corpus, tokenizer), c.context, t.val_fraction)
    return jobs.Job(c, t, corpus, tokenizer, training, validation, settings, {})


def training_of(ranks, job, start, **options):
    """A Training on every rank, from the same numbers."""
    training = Training(job, **options)
    arrays, optimizer = training.transformer.arrays(), training.optimizer
    ranks.own({name: a.shape for name, a in arrays.items()})
    for of_all in (arrays, *((optimizer.m, optimizer.v) if start else ())):
        ranks.same(of_all)
    optimizer.m, optimizer.v = ranks.kept(optimizer.m), ranks.kept(optimizer.v)
    training.start = training.recorder.done = optimizer.t = start
    return training
