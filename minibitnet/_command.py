"""What the commands share: thread settings, flags from the configuration classes, one-line errors and exit
codes.

Import this before NumPy: the matrix library reads its thread count when it loads. It gets one thread,
because training puts a shard of the batch on each of *our* threads; results then do not depend on how many
there are.
"""
import argparse
import ctypes
import difflib
import os
import signal
import sys
import warnings
from dataclasses import fields

_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec and _spec.name.startswith("minibitnet."):
    # This process is one of our commands: Ctrl-C while it still imports ends it without a traceback. run()
    # ends this.
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
for _stream in ("stdout", "stderr"):
    if getattr(sys, _stream) is None:                     # started with a closed stream (`>&-`)
        setattr(sys, _stream, open(os.devnull, "w", encoding="utf-8"))
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

from tqdm import tqdm  # noqa: E402

from .errors import NonFiniteError, UsageError, UserError  # noqa: E402


def _keep_freed_memory():
    """Ask glibc to keep freed blocks for the next array. By default it hands large ones back to the system,
    and every temporary of every op pays again for having its pages mapped and zeroed: 5 to 25 % of a
    training step, measured."""
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8           # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return                                                             # not glibc: macOS, Windows, musl
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_MMAP_THRESHOLD, 2**25)                                       # the largest it accepts
    # one heap, so that threads reuse each other's blocks
    mallopt(M_ARENA_MAX, 1)


_keep_freed_memory()

DONE, USER_ERROR, USAGE, NON_FINITE, INTERRUPTED = 0, 1, 2, 3, 130


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, which names the nearest neighbour of an unknown flag."""

    def __init__(self, module, description):
        super().__init__(prog=f"python -m minibitnet.{module}", description=description, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
        self.module = module
        self.add_argument("--traceback", action="store_true", help="show where an error came from")

    def error(self, message):                             # argparse would print the whole usage first
        self.exit(USAGE, f"error: {message} (python -m minibitnet.{self.module} --help explains every "
                         f"option)\n")

    def parse_args(self, args=None):
        args = sys.argv[1:] if args is None else args
        known = self._option_string_actions
        flags = args[:args.index("--")] if "--" in args else args
        for flag in (a.split("=")[0] for a in flags if a.startswith("--")):
            # before argparse complains of what is missing instead
            if flag not in known:
                near = [name for name in known
                        if name.startswith(flag)] or difflib.get_close_matches(flag, known, 1)
                self.error(f"unknown argument {flag}" + (f"; did you mean {near[0]}?" if near else ""))
        return super().parse_args(args)


def add_options(parser, title, config_class):
    """One flag for every field of a configuration class; a flag that is not given leaves no attribute."""
    group = parser.add_argument_group(title)
    for f in fields(config_class):
        name = "--" + f.name.replace("_", "-")
        help = f"{f.metadata['help']} ({f.default})"
        if f.type is bool:
            group.add_argument(name, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS,
                               help=help)
        else:
            group.add_argument(name, type=f.type, choices=f.metadata["choices"], default=argparse.SUPPRESS,
                               help=help,
                               metavar=None if f.metadata["choices"] else f.type.__name__.upper())


def given_options(namespace, config_class):
    """{field name: value} of the flags that were given."""
    return {f.name: getattr(namespace, f.name) for f in fields(config_class) if hasattr(namespace, f.name)}


def add_model_flags(parser, engines=()):
    """Which trained model: --model and --checkpoint; --engine where there are engines to choose from."""
    parser.add_argument("--model", required=True, metavar="DIR", help="the directory of a run")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last",
                        help="the newest or the one with the lowest validation loss (%(default)s)")
    if engines:
        parser.add_argument("--engine", choices=engines, default="float",
                            help="float: a checkpoint; packed: packed.safetensors, two bits a weight; "
                                 "integer: the same without a float (%(default)s)")


def dispatch(module, description, actions, argv):
    """Call the action that the first word names, on the other words -> exit code."""
    if argv[:1] and argv[0] in actions:
        return actions[argv[0]](argv[1:])
    parser = Parser(module, description)
    parser.add_argument("action", choices=tuple(actions))
    parser.parse_args(argv)
    parser.error(f"{argv[0]}: expected {', '.join(actions)} as the first word")


def positive_int(text):
    """A type for flags: a whole number from 1 upwards."""
    try:
        value = int(text)
    except ValueError:                                    # argparse would name this function
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1 upwards") from None
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 1")
    return value


def available_cpus():
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def new_file(path, overwrite):
    """UserError where a file is in the way."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already: expected a new file; replace it with --overwrite")


def bar(iterable=None, **options):
    """A tqdm on a terminal, which is gone when it is done; elsewhere it shows nothing."""
    return tqdm(iterable, leave=False, disable=not sys.stderr.isatty(), **options)


def say(*words):
    """Print to standard error, where it mixes with no output."""
    print(*words, file=sys.stderr, flush=True)


def run(main):
    """sys.exit with what main(argv) returns; mistakes become one line on standard error and an exit code."""
    argv = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # NumPy's, of an overflow: it shows in the result, which is checked
    warnings.filterwarnings("ignore", ".* encountered in ", RuntimeWarning)
    # a sample may hold what the terminal's encoding lacks
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    try:
        code = main(argv)
        sys.stdout.flush()
    except (UserError, NonFiniteError, OSError, MemoryError) as e:
        # `... | head` closed our output: nobody is left to tell
        if isinstance(e, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)
        if "--traceback" in argv:
            raise
        text = str(e)
        if isinstance(e, OSError) and e.strerror:
            text = (f"{e.strerror}: {e.filename}" if e.filename else e.strerror if ":" in e.strerror
                    else f"{e.strerror}, writing the output")
        say(f"error: {' '.join(str(text).split()) or 'out of memory'}")
        sys.exit(NON_FINITE if isinstance(e, NonFiniteError) else
                 USAGE if isinstance(e, UsageError) else USER_ERROR)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(INTERRUPTED)
    sys.exit(code)
