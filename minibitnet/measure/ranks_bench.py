"""A training step on several ranks, beside the same step on the threads of one process.

    python -m minibitnet.measure.ranks_bench SIZE LINEAR THREADS SECONDS

is a contender, by itself or on each of the ranks that mpiexec starts; rank 0 prints what ``on_ranks`` found.
Contenders have the machine one after another: ranks that wait for each other use up their processors.
"""
import json
import subprocess
import sys
import time
from statistics import mean, median

from .. import mpi
from ..errors import UserError
from ..threads import one_blas_thread, pool_of
from .timing import in_rounds, ratio, spread
from .train_bench import SIZES, our_step, task

SECONDS = 3.0


def measure(size, linear, counts, rounds, threads):
    """counts: of ranks, which have the threads of one process among them, but one each at least -> {"size",
    "linear", "threads", "rounds", "one process": ..., "2 ranks": ..., each {"threads": of each rank,
    "tokens_per_s", "sent_mb": by a rank in a step, 10^6 bytes, "in_communication": share of the time of a
    step in which a rank sends or waits for another, "to_one_process": {"median", "least", "most"}}}; to one
    process: quotient of speeds, above 1 where ranks are faster."""
    launcher = mpi.launcher()
    contenders = {"one process": ([], threads)}
    for n in counts:
        contenders[f"{n} rank{'s' * (n > 1)}"] = [launcher, "-n", str(n)], max(1, threads // n)
    found = in_rounds({name: (lambda start=start, of_each=of_each: ran(start, size, linear, of_each))
                       for name, (start, of_each) in contenders.items()}, rounds)
    alone = [r["tokens_per_s"] for r in found["one process"]]
    return {"size": size, "linear": linear, "threads": threads, "rounds": rounds} | {
        name: {"threads": contenders[name][1], **{key: median(r[key] for r in of_rounds)
                                                  for key in ("tokens_per_s", "sent_mb", "in_communication")},
               "to_one_process": ratio([r["tokens_per_s"] for r in of_rounds], alone)}
        for name, of_rounds in found.items()}


def ran(start, size, linear, threads):
    """One contender, once."""
    command = [*start, sys.executable, "-m", "minibitnet.measure.ranks_bench", size, linear, str(threads),
               str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise UserError(f"{' '.join(command)} ended with exit code {done.returncode}: {last or 'no message'}")
    return json.loads(done.stdout)


def on_ranks(ranks, size, linear, threads, seconds):
    """Train for about so many seconds, on every rank -> {"tokens_per_s", "sent_mb", "in_communication"}, the
    same on all."""
    ids_and_targets = task(size, linear)
    if ranks.size > 1:
        ranks.comm = Timed(ranks.comm)
    with one_blas_thread, pool_of(threads) as pool:
        step = our_step(*ids_and_targets, pool, ranks)
        step()
        ranks.any(0)
        began = time.perf_counter()
        step()
        steps = ranks.any(max(3, round(seconds / (time.perf_counter() - began))))
        sent, waited, began = ranks.sent, waiting(ranks), time.perf_counter()
        for _ in range(steps):
            step()
        waited = waiting(ranks) - waited
        sent = ranks.sent - sent
        ranks.any(0)
        took = time.perf_counter() - began
    of_all = [one for [one] in ranks.numbers([waited / took])]
    return {"tokens_per_s": steps * ids_and_targets[1].size / took,
            "sent_mb": max(one for [one] in ranks.numbers([sent])) / steps / 1e6,
            "in_communication": mean(of_all)}


class Timed:
    """A communicator that adds up the seconds of its calls."""

    def __init__(self, comm):
        self.comm, self.seconds = comm, 0.0

    def __getattr__(self, name):
        found = getattr(self.comm, name)
        if not callable(found):
            return found

        def call(*arguments, **options):
            began = time.perf_counter()
            try:
                return found(*arguments, **options)
            finally:
                self.seconds += time.perf_counter() - began
        return call


def waiting(ranks):
    """The seconds so far in which a rank sent or waited."""
    return ranks.comm.seconds if ranks.size > 1 else 0.0


def in_words(row):
    """A row of ``measure`` as a few lines to print."""
    lines = [f"{row['size']} {row['linear']}, median of {row['rounds']} rounds"]
    for name in (key for key, r in row.items() if isinstance(r, dict)):
        r = row[name]
        lines.append(f"  {name:12}{r['threads']:>3} thread{'s' if r['threads'] > 1 else ' '}"
                     f"{r['tokens_per_s']:>10,.0f} tok/s{r['sent_mb']:>8,.1f} MB sent"
                     f"{r['in_communication']:>7.1%} of the time   beside one process "
                     f"{spread(r['to_one_process'])}")
    return "\n".join(lines)


def main():
    """SIZE LINEAR THREADS SECONDS -> a line of JSON, of rank 0."""
    if len(sys.argv) != 5 or sys.argv[1] not in SIZES:
        sys.exit(f"error: {' '.join(sys.argv[1:]) or 'no words'}: expected SIZE LINEAR THREADS SECONDS, SIZE "
                 f"of {' '.join(SIZES)}")
    size, linear, threads, seconds = sys.argv[1:]
    ranks = mpi.ranks_of_this_process()
    found = on_ranks(ranks, size, linear, int(threads), float(seconds))
    if ranks.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
