"""The papers' tables, figures and claims, run here:  python -m minibitnet.reproduce --list"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import importlib
import json
import sys
import time
from functools import partial
from pathlib import Path

from tqdm import tqdm

from .errors import UserError
from .experiments import results
from .experiments.report import page
from .experiments.rows import ROWS, find

DESCRIPTION = """NAME: a row of --list, or report. A row runs its experiment live, in a minute at most, and puts the papers' number beside ours;
a row without an experiment says where its formula is. --full runs all of it, and writes data/results/EXPERIMENT.json.

report: one page of Markdown of all rows, from data/results where a full result is, else live. With matplotlib, pictures go beside it."""


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("reproduce", DESCRIPTION)
    parser.add_argument("name", nargs="?", metavar="NAME", help="a row of --list, an experiment, or report")
    parser.add_argument("--list", action="store_true", help="every row of the papers, with its state")
    parser.add_argument("--full", action="store_true", help="the whole experiment; its result goes to data/results")
    parser.add_argument("--json", action="store_true", help="print the result, or with --list the rows, as JSON")
    parser.add_argument("--out", metavar="FILE", help="report: where the page goes (report.md); otherwise where a picture goes")
    args = parser.parse_args(argv)

    if args.list and (args.name or args.full or args.out):
        parser.error("--list shows every row and runs none: it goes with --json alone")
    if args.name == "report" and (args.full or args.json):
        parser.error("report takes full results from data/results and is Markdown: it goes with --out alone")
    if args.list:
        print(json.dumps([r._asdict() for r in ROWS]) if args.json else "\n".join(listing()))
        return _command.DONE
    if args.name is None:
        parser.error("NAME or --list is missing")
    if args.name == "report":
        print(report(Path(args.out or "report.md")))
        return _command.DONE
    row = find(args.name)
    if not row.experiment:
        if args.full or args.json or args.out:
            raise UserError(f"{row.name} has no experiment to run ({row.state}): expected one of --list that has")
        print(*about(row), sep="\n")
        return _command.DONE
    if args.out and not Path(args.out).suffix.lower() in (".png", ".svg", ".pdf"):
        raise UserError(f"--out {args.out}: expected the name of a picture, ending in .png, .svg or .pdf")
    if args.out and not Path(args.out).absolute().parent.is_dir():
        raise UserError(f"--out {args.out}: its folder is not there")
    experiment = importlib.import_module(f".experiments.{row.experiment}", __package__)
    result = in_full(row.experiment, experiment) if args.full else experiment.quick()
    print(json.dumps(result) if args.json else "\n".join([*about(row), "", *experiment.in_words(result)]), flush=True)
    if args.out and not (hasattr(experiment, "figure") and experiment.figure(result, args.out)):
        _command.say(f"note: no picture: {row.experiment} draws none, or matplotlib is not installed (extra 'notebooks')")
    return _command.DONE


def listing():
    """The lines of --list."""
    for row in ROWS:
        state, _, reason = row.state.partition(", ")
        yield f"{row.name:22}{state:24}{row.source}: {row.claim}" + f" ({row.state})" * bool(reason) + f" - but {row.but}" * bool(row.but)
    states = [row.state.split(",")[0] for row in ROWS]
    yield (f"{len(ROWS)} rows: " + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)) +
           f"; in {sum(bool(row.but) for row in ROWS)} something differs from the claim")


def about(row):
    """What a row claims, and its state."""
    yield f"{row.name}  {row.source}: {row.claim}"
    yield f"state: {row.standing}" + f"; see minibitnet.{row.home}" * bool(row.home)


def in_full(name, experiment):
    """Run the whole experiment and write what it found -> its result."""
    if not hasattr(experiment, "full"):
        raise UserError(f"{name} has no longer form: its quick form, without --full, is all there is")
    began = time.monotonic()
    progress = partial(tqdm, leave=False) if sys.stderr.isatty() else iter
    result = experiment.full(progress)
    path = results.home() / f"{name}.json"
    results.save(path, results.envelope(name, result, time.monotonic() - began))
    _command.say(f"wrote {path}")
    return result


def report(out):
    """Write the page and its pictures -> a line that says where."""
    text, pictures, live = page(out, tell=lambda name: _command.say(f"running {name} ..."))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8", newline="\n")
    return f"{out}: {len(ROWS)} rows, {live} experiments run live, " + (f"{pictures} pictures" if pictures else "no pictures: matplotlib is not installed")


if __name__ == "__main__":
    _command.run(main)
