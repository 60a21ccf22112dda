"""data/results/NAME.json: what a full experiment found, with all that is needed to run it again.

    name, command     the experiment, and the command that makes this file
    environment       versions and machine
    seconds           wall time
    result            the experiment's own; its "config" is what it ran with, seeds too
"""
import json
from pathlib import Path

from ..errors import UserError
from ..files import write_atomically
from ..formats.rundir import environment
from ..text.corpora import packaged

KEYS = ("name", "command", "environment", "seconds", "result")


def envelope(name, result, seconds):
    """The object of a file."""
    if "config" not in result:
        raise ValueError(f"the result of {name} has no config: nobody could run it again")
    return dict(zip(KEYS, (name, f"python -m minibitnet.reproduce {name} --full", environment(), round(seconds, 2), result)))


def save(path, record):
    """Write an envelope; a UserError names the first key that JSON cannot hold."""
    try:
        raw = (json.dumps(record, indent=1, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as e:
        raise UserError(f"the result of {record['name']} does not fit into JSON: {e}") from None
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomically(Path(path), [raw], len(raw))


def load(name):
    """The envelope of an experiment, of ``home`` or as it came with the package, or None where there is none; UserError for one that is not whole."""
    path = home() / f"{name}.json"
    try:
        path = path if path.is_file() else packaged(f"results/{name}.json")
    except UserError:
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in KEYS if key not in record]
    except (ValueError, TypeError) as e:
        raise UserError(f"{path}: {e}: expected the JSON that python -m minibitnet.reproduce {name} --full writes") from None
    if missing or record["name"] != name:
        raise UserError(f"{path}: it lacks {missing} or is of another experiment: expected what python -m minibitnet.reproduce {name} --full writes")
    return record


def home():
    """The folder that full results are written to: data/results of a checkout, else ./results."""
    checkout = Path(__file__).parents[2]
    return checkout / "data/results" if (checkout / "pyproject.toml").is_file() else Path("results")
