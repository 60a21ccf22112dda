"""The papers' tables, figures and claims, run here:  python -m minibitnet.reproduce --list"""
from . import _command  # first: from here on Ctrl-C is heard

import json
import os
import shutil
import textwrap
import time
from pathlib import Path

from .data_files import checkout
from .errors import UserError
from .files import write_atomically
from .fitting import Interruption
from .mpi import ranks_of_this_process
from .experiments import claims, pages, runner
from .experiments.catalogue import EXPERIMENTS
from .experiments.lines import as_text
from .experiments.report import page
from .measure import results

DESCRIPTION = """NAME: a row of --list, or report. A row runs its experiment live, in a minute at most, and
puts the papers' number beside ours; a row without an experiment says where its formula is. --full runs all
of it, and writes data/results/EXPERIMENT.json (outside a checkout results/EXPERIMENT.json), which report
takes from there.

report: one page of Markdown of all rows, from data/results where a full result is, else live. With
matplotlib, pictures go beside it.

pages: what data/results/*.json hold, as the pages beside them: quality, speed, engines; and
the poster.

runs: train what the papers' trained rows need, each model once; verify [RUN]: train one of them again, and
compare to the last digit. Each has a --help of its own."""
RUNS = """Train the models of the plan (minibitnet/experiments/plan.py), the most decisive first; each leaves
data/results/runs/NAME.json, and is never trained again. Ctrl-C stops after some steps, and the same line goes
on from there. Start it once for every processor, in one folder, or with mpiexec -n N, on machines that share
one: each process takes the next model that nobody has. tinyshakespeare must have been fetched for the runs on
it."""
VERIFY = """Train a run of data/results/runs again, by default the shortest, and compare the sha256 of its
parameters, its losses and its answers with the file: equal to the last digit, or exit code 1."""


def main(argv):
    """argv -> exit code."""
    if argv[:1] in (["runs"], ["verify"]):
        return {"runs": runs, "verify": verify}[argv[0]](argv[1:])
    parser = _command.Parser("reproduce", DESCRIPTION)
    parser.add_argument("name", nargs="?", metavar="NAME",
                        help="a row of --list, an experiment, report, pages, runs or verify")
    parser.add_argument("--list", action="store_true", help="every row of the papers, with its state")
    parser.add_argument("--full", action="store_true",
                        help="the whole experiment; its result goes to data/results")
    parser.add_argument("--json", action="store_true",
                        help="print the result, or with --list the rows, as JSON")
    parser.add_argument("--out", type=_command.named, metavar="FILE",
                        help="report: where the page goes (report.md); otherwise where a picture goes")
    args = parser.parse_args(argv)

    if args.list and (args.name or args.full or args.out):
        parser.error("--list shows every row and runs none: it goes with --json alone")
    if args.name == "pages" and (args.full or args.json or args.out):
        parser.error("pages goes alone: it writes the pages of data/results from the files there")
    if args.name == "report" and (args.full or args.json):
        parser.error("report takes full results from data/results and is Markdown: it goes with --out alone")
    if args.list:
        print(json.dumps([r.as_json() for r in claims.rows()]) if args.json else "\n".join(listing()))
        return _command.DONE
    if args.name is None:
        parser.error("NAME or --list is missing")
    if args.name == "pages":
        if not checkout():
            raise UserError("pages: they are of a checkout's data/results, and this is none: expected to run "
                            "there")
        written = pages.write(results.home())
        print(*written, sep="\n")
        if len(written) == len(pages.PAGES):
            _command.say("note: no pictures: matplotlib is not installed (extra 'notebooks')")
        return _command.DONE
    if args.name == "report":
        print(report(writable(args.out or "report.md", (".md",))))
        return _command.DONE
    row = claims.find(args.name)
    if not row.experiment:
        if args.full or args.json or args.out:
            raise UserError(f"{row.name} has no experiment to run ({row.explained}): expected one of --list "
                            "that has")
        print(*about(row), sep="\n")
        return _command.DONE
    out = args.out and writable(args.out, (".png", ".svg", ".pdf"))
    experiment = EXPERIMENTS[row.experiment]
    result, save = (in_full if args.full else quick)(row.experiment, experiment)
    lines = () if args.json else map(as_text, experiment.in_words(result))
    text = "\n".join([*about(claims.after(row, experiment, result)), "", *lines])
    print(json.dumps(result) if args.json else text, flush=True)
    save()
    if out and not experiment.figure:
        _command.say(f"note: no picture: {row.name} draws none")
    elif out and not experiment.figure(result, out):
        _command.say("note: no picture: matplotlib is not installed (extra 'notebooks')")
    return _command.DONE


def writable(name, suffixes):
    """The path of a file to write; UserError, before anything is run, where it cannot be one."""
    path = Path(name)
    if path.suffix.lower() not in suffixes:
        raise UserError(f"--out {name}: expected the name of a file that ends in {', '.join(suffixes)}")
    if path.is_dir() or not path.absolute().parent.is_dir():
        found = "this is a folder" if path.is_dir() else "its folder is not there"
        raise UserError(f"--out {name}: expected a file, {found}")
    probe(path.parent)
    return path


def probe(folder):
    """Make a file in the folder and remove it; UserError where that fails: a long experiment must not end in
    a folder that takes no file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f".tmp-{os.getpid()}"
        file.touch()
        file.unlink()
    except OSError as e:
        raise UserError(f"{folder}: {e.strerror}: expected a folder that can be written to") from None


def listing():
    """The lines of --list."""
    for row in claims.rows():
        departure = f" - but {row.departure}" * bool(row.departure)
        because = f" ({row.explained})" * bool(row.because)
        yield from wrapped(f"{row.name:22}{row.state:24}{row.source}: {row.claim}{because}{departure}", 46)
    states = [row.state for row in claims.rows()]
    differ = sum(bool(row.departure) for row in claims.rows())
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    yield from wrapped(f"{len(states)} rows: {counts}; in {differ} something differs from the claim", 0)
    yield from (f"{state}: {meaning}" for state, meaning in claims.STATES.items())


def wrapped(text, indent):
    """A text in lines for the terminal, of 110 columns at most; those after the first begin further right."""
    width = min(110, shutil.get_terminal_size((110, 24)).columns)
    return textwrap.wrap(text, width, subsequent_indent=" " * min(indent, width // 2), break_long_words=False,
                         break_on_hyphens=False)


def about(row):
    """What a row claims, and its state."""
    yield f"{row.name}  {row.source}: {row.claim}"
    yield f"state: {row.standing}" + f"; see minibitnet.{row.home}" * bool(row.home)


def quick(name, experiment):
    """Run an experiment's quick form -> its result, and a function that writes nothing."""
    with _command.waiting(f"running {name}"):
        return experiment.quick(), lambda: None


def in_full(name, experiment):
    """Run the whole experiment -> its result, and a function that writes it to data/results."""
    if not experiment.full:
        raise UserError(f"{name} has no longer form: its quick form, without --full, is all there is")
    path = results.home() / f"{name}.json"
    probe(path.parent)
    began = time.monotonic()
    result = experiment.full(_command.bar)
    seconds = time.monotonic() - began

    def save():
        results.save(path, results.envelope(name, result, seconds))
        _command.say(f"wrote {path}")
    return result, save


def runs(argv):
    """Train what the plan has -> exit code."""
    parser = _command.Parser("reproduce runs", RUNS)
    parser.add_argument("--list", action="store_true", help="what there is, and what is left; train nothing")
    parser.add_argument("--shard", type=shard, default=(1, 1), metavar="I/N",
                        help="only the I-th of N parts, on one of N machines; copy the files together")
    parser.add_argument("--budget", type=_command.positive_float, metavar="HOURS",
                        help="begin no run that would not be done by then")
    args = parser.parse_args(argv)
    ranks = ranks_of_this_process()
    rank, of_rank = ranks.rank, f"rank {ranks.rank}: " if ranks.size > 1 else ""
    if rank == 0:
        print(*runs_in_words(args.shard), sep="\n", flush=True)
    if args.list:
        return _command.DONE
    progress = RunProgress(quiet=rank > 0)       # the bars of several would be drawn over each other
    with Interruption(hard=True, say=_command.say if rank == 0 else lambda text: None) as interruption:
        left = runner.work(args.shard, args.budget, lambda: interruption.signal, progress,
                           lambda path: print(f"{of_rank}{path}", flush=True), progress.waits)
    if interruption.signal:
        if rank == 0:
            _command.say("interrupted; the same line goes on")
        return 128 + interruption.signal
    if rank == 0:
        print(f"{len(left)} runs are left" if left else "nothing is left to train")
    return _command.DONE


def runs_in_words(share):
    """The plan: a line for each block."""
    for block, there, hours in runner.state(runner.done(), share):
        left = f"waits for {block.waits}" if block.waits else f"{hours:.1f} h on one processor are left"
        yield f"{block.name:12}{there:4} of {len(block.runs):3} runs, {left}: {block.question}"


def verify(argv):
    """Train a run again and compare -> exit code."""
    parser = _command.Parser("reproduce verify", VERIFY)
    parser.add_argument("name", nargs="?", metavar="RUN", help="a file of data/results/runs, without .json")
    args = parser.parse_args(argv)
    run, seconds = runner.to_verify(args.name)
    _command.say(f"{run.name}: about {seconds:,.0f} s of one processor")
    shown = RunProgress()
    with Interruption(hard=True, say=_command.say) as interruption:
        new, differences = runner.verify(run.name, shown, lambda: interruption.signal)
    if new is None:
        _command.say(f"interrupted; python -m minibitnet.reproduce verify {run.name} goes on")
        return 128 + interruption.signal
    if differences:
        raise UserError(f"{run.name}: {'; '.join(differences[:5])}: expected the same to the last digit; is "
                        "the code of that day's arithmetic?")
    print(f"{run.name}: the same to the last digit, model sha256 {new['outcome'].get('model_sha256')}")
    return _command.DONE


def shard(text):
    """A type for flags: I/N, with I from 1 to N."""
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and 1 <= int(i) <= int(n)):
        raise _command.ArgumentTypeError(f"{text!r}: expected I/N, as 1/2 and 2/2 for two machines")
    return int(i), int(n)


class RunProgress:
    """A bar for every run in a terminal; elsewhere a line at every tenth of it. quiet: neither."""

    def __init__(self, quiet=False):
        self.quiet, self.name, self.bar = quiet, None, None

    def waits(self, n):
        """Others have the n runs that are left."""
        if self.name != "waits" and not self.quiet:
            _command.say(f"waiting: other processes have what is left, runs: {n}")
        self.name = "waits"

    def __call__(self, p):
        if self.quiet:
            return
        if p.run.name != self.name:
            self.name, self.said = p.run.name, 0
            if self.bar:
                self.bar.close()
            self.bar = _command.bar(total=p.run.steps, desc=p.run.name, unit="step", initial=p.step)
        self.bar.set_postfix_str(f"loss {p.loss:.3f}, then {p.left}", refresh=False)
        self.bar.update(p.step - self.bar.n)
        if self.bar.disable and p.step * 10 // p.run.steps > self.said:
            self.said = p.step * 10 // p.run.steps
            _command.say(f"{p.run.name}  step {p.step:,}/{p.run.steps:,}  loss {p.loss:.4f}  then {p.left}")


def report(out):
    """Write the page and its pictures -> a line that says where."""
    text, pictures, live = page(claims.rows(), out, tell=lambda name: _command.say(f"running {name} ..."))
    write_atomically(out, [text.encode()], len(text.encode()))
    without = "no pictures: matplotlib is not installed (extra 'notebooks')"
    drawn = f"{pictures} pictures" if pictures else without
    return f"{out}: {len(claims.rows())} rows, {live} experiments run live, {drawn}"


if __name__ == "__main__":
    _command.run(main)
