"""Draw a finished run again:  python -m minibitnet.plot runs/tiny"""
from . import _command  # first: from here on Ctrl-C is heard

from .api import run_at
from .drawing import draw_loss
from .errors import UserError
from .fitting import History
from .measure.plotting import save, unwritable

DESCRIPTION = """Draw the loss of a run from its metrics.jsonl, and the floor where it is known."""


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("plot", DESCRIPTION)
    parser.add_argument("model", type=_command.named, metavar="DIR", help="the directory of a run")
    parser.add_argument("--out", type=_command.path, metavar="FILE",
                        help="the picture, .png, .svg or .pdf (DIR/loss.png)")
    parser.add_argument("--overwrite", action="store_true", help="replace FILE")
    args = parser.parse_args(argv)
    run = run_at(args.model)
    lines = run.metrics()
    if not lines:
        raise UserError(f"{run.path / 'metrics.jsonl'} has no line: expected those of a run")
    out = args.out or run.path / "loss.png"
    if wrong := unwritable(out):
        raise UserError(f"--out {out}: {wrong}")
    if args.out:
        _command.new_file(out, args.overwrite)
    floor = next((line["floor"] for line in reversed(lines) if "floor" in line), None)
    save(draw_loss(History(lines, floor)), out)
    print(out)
    return _command.DONE


if __name__ == "__main__":
    _command.run(main)
