"""data/results/NAME.json: what a full experiment or a benchmark found, with all that is needed to run it
again.

    name, command     the experiment, and the command that makes this file, as it is typed
    environment       versions and machine
    date              the day, as YYYY-MM-DD (early results have none)
    seconds           wall time
    result            the experiment's own; its "config" is what it ran with, seeds too; a "note", if there is
                      one, is printed where the result is shown
"""
import datetime
import json
from pathlib import Path

from ..data_files import checkout, packaged
from ..errors import UserError
from ..files import write_atomically
from ..formats.rundir import environment

KEYS = ("name", "command", "environment", "seconds", "result")          # that every file has


def envelope(name, result, seconds, command=None):
    """The object of a file; command: that which made it, by default the experiment's."""
    if "config" not in result:
        raise ValueError(f"the result of {name} has no config: nobody could run it again")
    return {"name": name, "command": command or f"python -m minibitnet.reproduce {name} --full",
            "environment": environment(), "date": datetime.date.today().isoformat(),
            "seconds": round(seconds, 2), "result": result}


def save(path, record):
    """Write an envelope; UserError where it holds what JSON cannot: NaN, an array."""
    try:
        raw = (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as e:
        raise UserError(f"the result of {record['name']} does not fit into JSON: {e}") from None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), [raw], len(raw))


def load(name, in_words=lambda result: ()):
    """The envelope of an experiment, of ``home`` or as it came with the package, or None where there is none;
    UserError for one that is not whole, or whose result the experiment's ``in_words`` cannot tell: another
    version may have written it."""
    path = home() / f"{name}.json"
    try:
        path = path if path.is_file() else packaged(f"results/{name}.json")
    except UserError:
        return None
    expected = "expected a record (data/README.md says what makes which)"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as e:
        raise UserError(f"{path}: {e}: {expected}") from None
    missing = [key for key in KEYS if key not in record] if isinstance(record, dict) else KEYS
    if missing:
        raise UserError(f"{path}: it lacks {', '.join(missing)}: {expected}")
    if record["name"] != name:
        raise UserError(f"{path}: it is of another experiment: {expected}")
    expected = f"expected what {record['command']} writes"
    try:
        origin(record)
        list(in_words(record["result"]))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as e:
        raise UserError(f"{path}: not a result of this version ({type(e).__name__}: {e}): {expected}; run it "
                        f"again") from None
    return record


def origin(record):
    """Where a result comes from, in Markdown."""
    day = f", {record['date']}" if "date" in record else ""
    note = f"; {record['result']['note']}" if "note" in record["result"] else ""
    where = record["environment"]
    kernel = f" ({where['blas_kernel']} kernels)" if where.get("blas_kernel") else ""
    return (f"`{record['command']}`, {record['seconds']:,.0f} s on {machine(record)}, "
            f"NumPy {where['numpy']}{kernel}{day}{note}")


def machine(record):
    """Processor and system that a result comes from."""
    where = record["environment"]
    return ", ".join(filter(None, [where.get("processor"), where["platform"]]))    # early: no processor


def home():
    """The folder that full results are written to: data/results of a checkout, else ./results."""
    root = checkout()
    return root / "data/results" if root else Path("results")
