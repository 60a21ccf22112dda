"""List the commands:  python -m minibitnet  (or run one:  python -m minibitnet train --tiny)"""
import difflib
import runpy
import sys

from . import __version__

COMMANDS = {
    "train": "train a model from scratch (start with --tiny)",
    "evaluate": "loss, perplexity and bits per byte of a trained model",
    "generate": "let a trained model write",
    "pack": "two bits a weight, and a table of bytes",
    "convert": "to Hugging Face's format and to GGUF, and back",
    "inspect": "is a model's file sound, and if not, why",
    "plot": "draw a run's loss again",
    "data": "make, fetch, list and measure corpora",
    "tokenizer": "train a byte-pair vocabulary, look at one, encode with one",
    "reproduce": "the papers' tables, figures and claims, beside ours",
    "bench": "our speed beside PyTorch's, in one run",
}


def main():
    """What ``python -m minibitnet.NAME`` does, for the NAME that is the first word; without one, the list."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        del sys.argv[1]
        # As the main module, under its own name: _command looks for it there, and so do processes that it
        # starts.
        runpy.run_module(f"{__package__}.{name}", run_name="__main__", alter_sys=True)
    elif name == "--version":
        print(f"minibitnet {__version__}")
    elif name in ("--help", "-h"):
        from . import _command                   # for a pipe that nobody reads
        _command.run(listing)
    else:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        print(f"error: unknown command {name}" + (f"; did you mean {near[0]}?" if near else "") +
              " (python -m minibitnet lists them)", file=sys.stderr)
        sys.exit(2)


def listing(argv):
    """Print the commands -> exit code."""
    print(f"minibitnet {__version__}: BitNet (1-bit language models) in pure NumPy\n")
    for name, what in COMMANDS.items():
        print(f"  python -m minibitnet.{name:<10} {what}")
    print("\nEach one explains itself with --help.")
    return 0


if __name__ == "__main__":
    main()
