"""What the commands share: flags from the configuration classes, one-line errors, exit codes.

Import this first: from then on Ctrl-C ends a command that still imports without a traceback.
"""
import argparse
import contextlib
import difflib
import math
import os
import shlex
import signal
import sys
import threading
import warnings
from argparse import ArgumentTypeError
from dataclasses import fields
from pathlib import Path

_spec = getattr(sys.modules["__main__"], "__spec__", None)
if _spec and _spec.name.startswith("minibitnet.") and "IPython" not in sys.modules:
    # This process is one of our commands, and no notebook that runs one: Ctrl-C while it still imports ends
    # it without a traceback. run() ends this.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:        # a script's `command &` does not hear it
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
for _stream in ("stdout", "stderr"):
    if getattr(sys, _stream) is None:                     # started with a closed stream (`>&-`)
        setattr(sys, _stream, open(os.devnull, "w", encoding="utf-8"))

from tqdm import tqdm  # noqa: E402

from .errors import NonFiniteError, UsageError, UserError  # noqa: E402
from .threads import MOST_THREADS, available_cpus, keep_freed_memory, one_blas_thread  # noqa: E402

keep_freed_memory()                      # before NumPy's first array

DONE, USER_ERROR, USAGE, NON_FINITE, INTERRUPTED = 0, 1, 2, 3, 130


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, which names the nearest neighbour of an unknown flag."""

    def __init__(self, module, description):
        super().__init__(prog=f"python -m minibitnet.{module}", description=description, allow_abbrev=False,
                         formatter_class=argparse.RawDescriptionHelpFormatter)
        self.module, self.conflicts = module, []
        self.add_argument("--traceback", action="store_true", help="show where an error came from")

    def conflict(self, flag, *others, because):
        """No flag of the others goes with this one."""
        self.conflicts.append((flag, others, because))

    def error(self, message):                             # argparse would print the whole usage first
        self.exit(USAGE, f"error: {short(message)} (python -m minibitnet.{self.module} --help explains every "
                         f"option)\n")

    def parse_args(self, args=None):
        args = sys.argv[1:] if args is None else args
        known = self._option_string_actions
        flags = args[:args.index("--")] if "--" in args else args
        for before, word in zip([None, *flags], flags):
            # before argparse complains of what is missing instead; "- x", with its space, is a value to it
            flag = word.split("=")[0]
            number = self._negative_number_matcher.match(word)
            if not word.startswith("-") or word == "-" or flag in known or number or " " in word:
                continue
            near = [name for name in known
                    if name.startswith(flag)] or difflib.get_close_matches(flag, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            if before in known and known[before].nargs is None:
                self.error(f"{before} {word}: a value that begins with - is written "
                           f"{before}={shlex.quote(word)}{hint}")
            self.error(f"unknown argument {flag}{hint}")
        parsed = super().parse_args(args)

        def given(flag):
            return getattr(parsed, flag.strip("-").replace("-", "_")) not in (None, False)
        for flag, others, because in self.conflicts:
            if given(flag) and (found := [other for other in others if given(other)]):
                self.error(f"{because}: {', '.join(others)} do not go with it (found {', '.join(found)})")
        return parsed


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


def add_threads(parser, what):
    """The flag --threads, with what it is for."""
    parser.add_argument("--threads", type=thread_count, default=available_cpus(), metavar="N",
                        help=f"{what} (%(default)s)")


def add_model_flags(parser, engines=()):
    """Which trained model: --model and --checkpoint; --engine where there are engines to choose from."""
    parser.add_argument("--model", required=True, type=named, metavar="DIR",
                        help="the directory of a run" + ", or another's model" * bool(engines))
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last",
                        help="the newest or the one with the lowest validation loss (%(default)s)")
    if engines:
        parser.add_argument("--engine", choices=engines,
                            help="float: a checkpoint; packed: packed.safetensors, two bits a weight; "
                                 "integer: the same without a float (of a run float, of others' ternary "
                                 "weights packed)")


def dispatch(module, description, actions, argv):
    """Call the action that the first word names, on the other words -> exit code."""
    if argv[:1] and argv[0] in actions:
        return actions[argv[0]](argv[1:])
    parser = Parser(module, description)
    parser.add_argument("action", choices=tuple(actions), metavar="|".join(actions))
    parser.parse_args(argv)
    parser.error(f"{argv[0]}: expected {', '.join(actions)} as the first word")


def positive_int(text):
    """A type for flags: a whole number from 1 upwards."""
    try:
        value = int(text)
    except ValueError:                                    # argparse would name this function
        raise ArgumentTypeError(f"{text!r}: expected a whole number from 1 upwards") from None
    if value < 1:
        raise ArgumentTypeError(f"{text}: expected at least 1")
    return value


def positive_float(text):
    """A type for flags: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise ArgumentTypeError(f"{text!r}: expected a number above 0")
    return value


def thread_count(text):
    """A type for flags: so many threads."""
    if (value := positive_int(text)) > MOST_THREADS:
        raise ArgumentTypeError(f"{text}: expected at most {MOST_THREADS:,}")
    return value


def named(text):
    """A type for flags: a name or a path. (As a path, "" would be the current folder.)"""
    if not text:
        raise ArgumentTypeError("'': expected a name or a path")
    return text


def path(text):
    """A type for flags: a Path."""
    return Path(named(text))


def new_file(path, overwrite):
    """UserError where a file is in the way."""
    if path.exists() and not overwrite:
        raise UserError(f"{path} is there already: expected a new file; replace it with --overwrite")


def bar(iterable=None, **options):
    """A tqdm on a terminal, which is gone when it is done; elsewhere it shows nothing."""
    return tqdm(iterable, leave=False, dynamic_ncols=True, disable=not sys.stderr.isatty(), **options)


def learning(joins):
    """A bar over the tokens that a vocabulary learns, in the place of one that is there already."""
    return bar(joins, unit="token", desc="vocabulary", position=0)


@contextlib.contextmanager
def waiting(what):
    """On a terminal a line with the time so far, while this block works."""
    ended = threading.Event()

    def tick():
        while not ended.wait(1):
            shown.refresh()
    with bar(desc=what, bar_format="{desc} ... {elapsed}") as shown:
        ticking = threading.Thread(target=tick, daemon=True)
        ticking.start()
        try:
            yield
        finally:
            ended.set()
            ticking.join()


def say(*words):
    """Print to standard error, where it mixes with no output. Where nobody can read it, work goes on."""
    with contextlib.suppress(OSError):
        print(*words, file=sys.stderr, flush=True)


def short(text):
    """A message in one line; a word as long as no path is cut."""
    return " ".join(word if len(word) < 1000 else f"{word[:60]}...{word[-20:]}" for word in text.split())


def here():
    """UserError where the current folder was deleted: no relative path leads anywhere."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError("the current folder was deleted: expected one that is there (cd elsewhere)") from None


class Ended(SystemExit):
    """A command's end with an exit code; all has been said."""

    def _render_traceback_(self):                         # IPython's %run would print the stack
        return []


def run(main):
    """sys.exit with what main(argv) returns; mistakes become one line on standard error and an exit code."""
    argv = sys.argv[1:]
    if "IPython" not in sys.modules and signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # NumPy's, of an overflow: it shows in the result, which is checked
    warnings.filterwarnings("ignore", ".* encountered in ", RuntimeWarning)
    # IPython's, of an exit code
    warnings.filterwarnings("ignore", "Unknown failure executing module", UserWarning)
    # a sample may hold what the terminal's encoding lacks
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):                # a notebook's has not, and needs it not
            stream.reconfigure(errors="replace")
    try:
        here()
        with one_blas_thread:
            try:
                code = main(argv)
            except SystemExit as e:                       # of --help, or of a usage error
                code = e.code
        sys.stdout.flush()
    except (UserError, NonFiniteError, OSError, MemoryError) as e:
        # `... | head` closed our output: nobody is left to tell
        if isinstance(e, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Ended(141) from None
        if "--traceback" in argv:
            raise
        text = str(e)
        if isinstance(e, OSError) and e.strerror:
            text = (f"{e.strerror}: {e.filename}" if e.filename else e.strerror if ":" in e.strerror
                    else f"{e.strerror}, writing the output")
        say(f"error: {short(text) or 'out of memory'}")
        raise Ended(NON_FINITE if isinstance(e, NonFiniteError) else
                    USAGE if isinstance(e, UsageError) else USER_ERROR) from None
    except KeyboardInterrupt:
        say("interrupted")
        raise Ended(INTERRUPTED) from None
    raise Ended(code)
