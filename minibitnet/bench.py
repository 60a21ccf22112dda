"""Measure, side by side and in one run:  python -m minibitnet.bench train  ·  kernels  ·  decode  ·  prompt
"""
from . import _command  # first: from here on Ctrl-C is heard

import argparse
import importlib.util
import json
import os
import re
import shlex
import shutil
import time
import tomllib
from functools import partial

from . import mpi
from .data_files import packaged
from .errors import UserError
from .inference.kernels import exact_in_float32
from .measure import (decode_bench, kernel_bench, model_bench, prompt_bench, ranks_bench, results,
                      step_profile, train_bench)
from .measure.random_models import SHAPES
from .nn.config import MAX_PARAMETERS
from .threads import available_cpus

DESCRIPTION = """Our speed, beside others' in the same run.

    python -m minibitnet.bench train      a training step, beside PyTorch's; --profile: where its time goes
    python -m minibitnet.bench kernels    one product with a ternary matrix, by every kernel
    python -m minibitnet.bench decode     a whole model, token by token
    python -m minibitnet.bench prompt     a prompt at once, with activations of 8 and of 4 bits

Each contender has a process of its own and they take turns, a few steps at a time: what the machine does
meanwhile hits all of them alike. Figures are medians over the rounds, ratios are medians of the rounds'
ratios; MB are 10^6 bytes. Each of the four has a --help."""

TRAIN = """Tokens/s and peak memory of one training step (forward, backward, clipping, AdamW) beside
PyTorch's step of the same model, eager and compiled, and beside the step's matrix products alone (without
attention's), which no code can do without. A ratio is a median of the rounds' ratios; the least and the
most of them tell how quiet the machine was. With --ranks: of our step alone, on the ranks of this machine
that mpiexec starts, beside one process with as many threads as they have among them."""

KERNEL = """Milliseconds of one product of a ternary matrix with 8-bit activations, by every kernel that
reads 2 bits a weight, beside dense float32 (NumPy's on one thread and with the rows shared out to all;
PyTorch's) and beside unpacking the matrix at every call. Each call takes another copy of the matrix, as in
a model, so large ones are read from memory, not from a cache."""

DECODE = """Tokens/s of a random model of a known shape, one token after another with a key-value cache, and
of reading a prompt; memory from the loading of its file on (packed.safetensors in a temporary folder: 1.2
GB for 2b4t). Beside the packed engine, for the smaller shapes, the integer engine of the same file, and the
float engine (codes in float32) of random weights too. Or of a model that is there (--model), with the time
and the memory that loading it takes."""

PROMPT = """Tokens/s of reading a prompt at once by the packed engine, of a random model of a known shape:
with 8-bit activations (ternary), with BitNet a4.8's hybrid of 4 and 8 bits (a48), and with 4 bits throughout,
behind BitNet v2's Hadamard transformations (v2). The weights are the same; each holds them in memory of its
own."""

SHAPES_OF_MODELS = [(13824, 2560), (2560, 6912), (2560, 2560), (768, 288), (288, 288)]
PINS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def main(argv):
    """argv -> exit code."""
    actions = {"train": train, "kernels": kernels, "decode": decode, "prompt": prompt}
    pinned = " and ".join(f"{name}={os.environ[name]}" for name in PINS if name in os.environ)
    if pinned:
        _command.say(f"note: {pinned} makes NumPy's products use another kernel than this processor's own: "
                     f"expected neither to be set for a figure of speed")
    return _command.dispatch("bench", DESCRIPTION, actions, argv)


def train(argv):
    """One training step beside PyTorch's, or where its time goes."""
    parser = parser_of("train", TRAIN)
    parser.add_argument("--sizes", nargs="+", choices=tuple(train_bench.SIZES), default=["S", "M"],
                        metavar="SIZE", help="of S M L (S M)")
    parser.add_argument("--linear", nargs="+", choices=("ternary", "float"), default=["ternary", "float"],
                        metavar="VARIANT", help="of ternary float (both)")
    parser.add_argument("--compile", action="store_true",
                        help="also torch.compile (needs a C++ compiler; a minute or two to warm up)")
    parser.add_argument("--profile", action="store_true",
                        help="where the time of our step goes on one thread, instead of the comparison")
    parser.add_argument("--ranks", nargs="+", type=_command.positive_int, metavar="N",
                        help="so many processes of MPI (1 2 4) beside one process, instead of the comparison")
    args = parser.parse_args(argv)
    idle = {"--compile", "--rounds", "--threads"} & {word.split("=")[0] for word in argv}
    if args.profile and idle:
        none = " and no ".join(sorted(idle))
        parser.error(f"--profile times our own step, on one thread: expected no {none}")
    if args.ranks and (args.compile or args.profile):
        parser.error("--ranks has our own step on several ranks: expected no --compile and no --profile")
    if args.ranks and mpi.started():
        parser.error("--ranks N starts N ranks itself: expected a command without mpiexec")
    if args.compile and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        raise UserError("--compile: torch.compile needs a C++ compiler, and none is on the PATH")

    tasks = [(size, linear) for size in args.sizes for linear in args.linear]
    if args.profile:
        args.rounds, args.threads = 1, 1
        profiles = (step_profile.profile(size, linear) for size, linear in tasks)
        return run_and_record("train", argv, args, profiles, all_in_words=step_profile.in_words)
    if args.ranks:
        rows = (ranks_bench.measure(*task, args.ranks, args.rounds, args.threads) for task in tasks)
        return run_and_record("train", argv, args, rows, ranks_bench.in_words)
    others = [train_bench.EAGER] + [train_bench.COMPILED] * args.compile
    contenders = [train_bench.OURS, train_bench.GEMMS] + others * pytorch()
    rows = (train_bench.measure(contenders, *task, args.rounds, args.threads) for task in tasks)
    return run_and_record("train", argv, args, rows, partial(train_bench.in_words, contenders=contenders))


def kernels(argv):
    """One product by every kernel."""
    parser = parser_of("kernels", KERNEL)
    parser.add_argument("--shapes", nargs="+", type=shape, default=SHAPES_OF_MODELS, metavar="NxM",
                        help="outputs x inputs (13824x2560 2560x6912 2560x2560 768x288 288x288)")
    parser.add_argument("--tokens", type=_command.positive_int, default=1, metavar="N",
                        help="columns of activations (%(default)s)")
    args = parser.parse_args(argv)
    has_pytorch = pytorch()
    contenders = [name for name in kernel_bench.KERNELS if has_pytorch or name != kernel_bench.PYTORCH]
    rows = (kernel_bench.measure(contenders, *matrix, args.tokens, args.rounds, args.threads)
            for matrix in args.shapes)
    return run_and_record("kernels", argv, args, rows, partial(kernel_bench.in_words, contenders=contenders))


def decode(argv):
    """A whole model, token by token."""
    parser = parser_of("decode", DECODE)
    parser.add_argument("--shape", choices=tuple(SHAPES), metavar="MODEL", help="of tiny 15m 2b4t (15m)")
    parser.add_argument("--model", type=_command.named, metavar="PATH",
                        help="instead of a random model: a run, a directory of Hugging Face or a GGUF file, "
                             "by the packed engine")
    args = parser.parse_args(argv)
    if args.model and args.shape:
        parser.error(f"--model {args.model}: it has a shape of its own: expected no --shape")
    if not args.model:
        args.shape = args.shape or "15m"
    rows = (model_bench.measure(args.model, args.rounds, args.threads) if args.model else
            decode_bench.measure(name, args.rounds, args.threads) for name in [args.shape])
    return run_and_record("decode", argv, args, rows, decode_bench.in_words)


def prompt(argv):
    """A prompt at once, by variants whose activations differ in bits."""
    parser = parser_of("prompt", PROMPT)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="15m", metavar="MODEL",
                        help="of tiny 15m 2b4t (%(default)s)")
    parser.add_argument("--tokens", nargs="+", type=_command.positive_int, default=[64, 256], metavar="N",
                        help="lengths of the prompt (64 256)")
    args = parser.parse_args(argv)
    rows = (prompt_bench.measure(args.shape, tokens, args.rounds, args.threads) for tokens in args.tokens)
    return run_and_record("prompt", argv, args, rows, prompt_bench.in_words)


def parser_of(what, description):
    """A Parser with the flags that all of them have."""
    parser = _command.Parser(f"bench {what}", description)
    parser.add_argument("--rounds", type=_command.positive_int, default=9, metavar="N",
                        help="turns that each contender takes (%(default)s)")
    parser.add_argument("--threads", type=thread_count, default=available_cpus(), metavar="N",
                        help="threads to use (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    parser.add_argument("--record", type=record_name, metavar="NAME",
                        help="also write data/results/NAME.json")
    return parser


def run_and_record(what, argv, args, rows, in_words=None, all_in_words=None):
    """Print every row when it is there, or all of them together; record them where that is asked for ->
    exit code."""
    how = ("json", "record", "traceback")                    # and not what is measured
    config = {name: value for name, value in vars(args).items() if name not in how}
    path = args.record and record_path(args.record, what)    # before the long part
    began, found = time.perf_counter(), []
    for row in rows:
        found.append(row)
        if args.json or in_words:
            print(json.dumps(row) if args.json else in_words(row), flush=True)
    if all_in_words and not args.json:
        print(all_in_words(found))
    if path:
        result = json.loads(json.dumps({"config": config, "rows": found}), parse_constant=lambda nan: None)
        command = shlex.join(["python", "-m", "minibitnet.bench", what, *argv])
        results.save(path, results.envelope(args.record, result, time.perf_counter() - began, command))
        _command.say(f"recorded in {path}")
    return _command.DONE


def record_path(name, action):
    """Where a benchmark's record goes; UserError where the result of another one or of an experiment has its
    place, or nobody can write."""
    path = results.home() / f"{name}.json"
    there = results.load(name) if path.is_file() else None
    if there and not there["command"].startswith(f"python -m minibitnet.bench {action} "):
        raise UserError(f"--record {name}: {path} is what {there['command']} found: expected another name")
    claims = tomllib.loads(packaged("paper/claims.toml").read_text(encoding="utf-8"))
    if name in {claim.get("experiment") for claim in claims.values()}:
        raise UserError(f"--record {name}: the name of an experiment (reproduce {name}): expected another")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


# ---- types for flags

def record_name(text):
    """The name of a record, which becomes a file's."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name of small letters, digits, - and _")
    return text


def thread_count(text):
    """A number of threads that a system can be asked for."""
    most = 16 * available_cpus()
    if _command.positive_int(text) > most:
        raise argparse.ArgumentTypeError(f"{text}: expected at most {most}, 16 for each processor")
    return int(text)


def shape(text):
    """Text such as 2560x6912 -> (2560, 6912)."""
    n, times, m = text.partition("x")
    if not (times and n.isdecimal() and m.isdecimal() and int(n) and int(m)):
        raise argparse.ArgumentTypeError(f"{text}: expected outputs x inputs, such as 2560x6912")
    if not exact_in_float32(int(m)):
        raise argparse.ArgumentTypeError(f"{text}: expected fewer inputs, whose sums of products float32 "
                                         "still holds exactly")
    if int(n) * int(m) > MAX_PARAMETERS:
        raise argparse.ArgumentTypeError(f"{text}: expected at most {MAX_PARAMETERS:,} weights; is a size "
                                         f"mistyped?")
    return int(n), int(m)


def pytorch():
    """Whether PyTorch is installed; where it is not, that is said."""
    found = importlib.util.find_spec("torch") is not None
    if not found:
        _command.say("PyTorch is not installed (extra 'peers'): our own figures only")
    return found


if __name__ == "__main__":
    _command.run(main)
