"""Measure, side by side and in one run:  python -m minibitnet.bench train  ·  kernels  ·  decode"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import argparse
import cProfile
import importlib.util
import inspect
import json
import multiprocessing
import operator
import os
import pstats
import shutil
import signal
import tempfile
import time
import traceback
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from statistics import median

import numpy as np

from . import exact
from .api import FloatEngine
from .errors import UserError
from .measure.random_models import SHAPES, packed_bytes, write_model
from .measure.timing import peak_bytes, ratio, repeat, spread, streamed
from .formats.packed import load
from .inference.integer import IntegerModel
from .inference.kernels import bit_planes, by_bit_planes, by_blas, by_lookup, exact_in_float32, table_indices
from .inference.packed import PackedModel
from .nn import ops, ste
from .nn.config import MAX_PARAMETERS, ModelConfig
from .nn.model import Transformer
from .nn.optim import AdamW, clip_global_norm
from .nn.training import loss_and_gradients, number_of_shards
from .packing import pack_ternary, unpack_ternary

DESCRIPTION = """Our speed, beside others' in the same run.

    python -m minibitnet.bench train      a training step, beside PyTorch's; --profile: where its time goes
    python -m minibitnet.bench kernels    one product with a ternary matrix, by every kernel
    python -m minibitnet.bench decode     a whole model, token by token

Each contender has a process of its own and they take turns, a few steps at a time: what the machine does meanwhile hits
all of them alike. Figures are medians over the rounds, ratios are medians of the rounds' ratios; MB are 10^6 bytes. Each of
the three has a --help."""

TRAIN = """Tokens/s and peak memory of one training step (forward, backward, clipping, AdamW) beside PyTorch's step of the same
model, eager and compiled, and beside the step's matrix products alone (without attention's), the floor for any code. A ratio
is a median of the rounds' ratios; the least and the most of them tell how quiet the machine was."""

KERNEL = """Milliseconds of one product of a ternary matrix with 8-bit activations, by every kernel that reads 2 bits a weight,
beside dense float32 (NumPy's on one thread and with the rows shared out to all; PyTorch's) and beside unpacking the matrix
at every call. Each call takes another copy of the matrix, as in a model, so large ones are read from memory, not from a cache."""

DECODE = """Tokens/s of a random model of a known shape, one token after another with a key-value cache, and of reading a prompt;
memory from the loading of its file on (packed.safetensors in a temporary folder: 1.2 GB for 2b4t). Beside the packed engine, for the
smaller shapes, the integer engine of the same file, and the float engine (codes in float32) of random weights too."""

SIZES = {  # name: (model, sequences a step)
    "S": (dict(vocab_size=512, d_model=128, n_heads=4, d_ffn=352, n_layers=4, context=128), 16),
    "M": (dict(vocab_size=1024, d_model=256, n_heads=4, d_ffn=704, n_layers=6, context=256), 16),
    "L": (dict(vocab_size=4096, d_model=512, n_heads=8, d_ffn=1408, n_layers=8, context=256), 16),
}
OURS, EAGER, COMPILED, FLOOR = "minibitnet", "PyTorch eager", "torch.compile", "GEMMs alone"


def main(argv):
    """argv -> exit code."""
    actions = {"train": train, "kernels": kernels, "decode": decode}
    pinned = " and ".join(f"{name}={os.environ[name]}" for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE") if name in os.environ)
    if pinned:
        _command.say(f"note: {pinned} makes NumPy's products use another kernel than this processor's own: expected neither to be set for a figure of speed")
    if argv[:1] and argv[0] in actions:
        return actions[argv[0]](argv[1:])
    parser = _command.Parser("bench", DESCRIPTION)
    parser.add_argument("what", choices=tuple(actions))
    parser.parse_args(argv)
    parser.error(f"{argv[0]}: expected {', '.join(actions)} as the first word")


def train(argv):
    """One training step beside PyTorch's, or where its time goes."""
    parser = parser_of("train", TRAIN)
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=["S", "M"], metavar="SIZE", help="of S M L (S M)")
    parser.add_argument("--linear", nargs="+", choices=("ternary", "float"), default=["ternary", "float"], metavar="ARM",
                        help="of ternary float (both)")
    parser.add_argument("--compile", action="store_true", help="also torch.compile (needs a C++ compiler; a minute or two to warm up)")
    parser.add_argument("--profile", action="store_true", help="where the time of our step goes on one thread, instead of the comparison")
    args = parser.parse_args(argv)
    idle = {"--compile", "--rounds", "--threads"} & {word.split("=")[0] for word in argv}
    if args.profile and idle:
        parser.error(f"--profile times our own step, on one thread: expected no {' and no '.join(sorted(idle))}")
    if args.compile and not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
        raise UserError("--compile: torch.compile needs a C++ compiler, and none is on the PATH")

    tasks = [(size, linear) for size in args.sizes for linear in args.linear]
    if args.profile:
        rows = [profile(size, linear) for size, linear in tasks]
        print("\n".join(map(json.dumps, rows)) if args.json else profile_in_words(rows))
        return _command.DONE
    contenders = [OURS, FLOOR] + ([EAGER] + [COMPILED] * args.compile) * pytorch()
    for size, linear in tasks:
        row = measure(contenders, size, linear, args.rounds, args.threads)
        print(json.dumps(row) if args.json else in_words(row, contenders), flush=True)
    return _command.DONE


def kernels(argv):
    """One product by every kernel."""
    parser = parser_of("kernels", KERNEL)
    parser.add_argument("--shapes", nargs="+", type=shape, default=[(13824, 2560), (2560, 6912), (2560, 2560), (768, 288), (288, 288)],
                        metavar="NxM", help="outputs x inputs (13824x2560 2560x6912 2560x2560 768x288 288x288)")
    parser.add_argument("--tokens", type=_command.positive_int, default=1, metavar="N", help="columns of activations (%(default)s)")
    args = parser.parse_args(argv)
    has_pytorch = pytorch()
    contenders = [name for name in KERNELS if has_pytorch or name != PYTORCH]
    for n, m in args.shapes:
        row = measure_kernels(contenders, n, m, args.tokens, args.rounds, args.threads)
        print(json.dumps(row) if args.json else kernels_in_words(row, contenders), flush=True)
    return _command.DONE


def decode(argv):
    """A whole model, token by token."""
    parser = parser_of("decode", DECODE)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="15m", help="of tiny 15m 2b4t (%(default)s)", metavar="MODEL")
    args = parser.parse_args(argv)
    row = measure_decode(args.shape, args.rounds, args.threads)
    print(json.dumps(row) if args.json else decode_in_words(row))
    return _command.DONE


def parser_of(what, description):
    """A Parser with the flags that all three have."""
    parser = _command.Parser(f"bench {what}", description)
    parser.add_argument("--rounds", type=_command.positive_int, default=9, metavar="N", help="turns that each contender takes (%(default)s)")
    parser.add_argument("--threads", type=thread_count, default=_command.available_cpus(), metavar="N", help="threads to use (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    return parser


def thread_count(text):
    """A type for flags: a number of threads that a system can be asked for."""
    most = 16 * _command.available_cpus()
    if _command.positive_int(text) > most:
        raise argparse.ArgumentTypeError(f"{text}: expected at most {most}, 16 for each processor")
    return int(text)


def pytorch():
    """Whether PyTorch is installed; where it is not, that is said."""
    found = importlib.util.find_spec("torch") is not None
    if not found:
        _command.say("PyTorch is not installed (extra 'peers'): our own figures only")
    return found


def in_words(row, contenders):
    """A row of ``measure`` as a few lines to print."""
    lines = [f"{row['size']} {row['linear']}, {row['threads']} threads, median of {row['rounds']} rounds"]
    for name in contenders:
        beside = "" if name == OURS else f"   ours is {spread(row[name]['ours_to_this'])} of it"
        lines.append(f"  {name:14}{row[name]['tokens_per_s']:>9,.0f} tok/s{row[name]['peak_mb']:>7,.0f} MB{beside}")
    return "\n".join(lines)


# ---- side by side

def take_turns(jobs, rounds, seconds):
    """jobs: {name: (make, its arguments)}, make(*arguments) -> a step to call, and facts. Each has a process of its own.

    -> {name: (seconds a step in every round, facts, peak memory in MB)}
    """
    spawn = multiprocessing.get_context("spawn")
    pipes, processes, times, facts, results = {}, [], {name: [] for name in jobs}, {}, {}

    def answer(name):
        got = pipes[name].recv()
        if isinstance(got, UserError):
            raise UserError(f"{name}: {got}") from got
        return got

    try:
        for name, job in jobs.items():
            pipes[name], theirs = spawn.Pipe()
            process = spawn.Process(target=work, args=(theirs, seconds, *job), daemon=True)
            start_deaf(process)
            processes.append(process)
            theirs.close()
            facts[name] = answer(name)                # when it is warm, and before the next one starts: some measure meanwhile
        for _ in range(rounds):
            for name in jobs:
                pipes[name].send("go")
                times[name].append(answer(name))
        for name in jobs:
            pipes[name].send("stop")
            results[name] = times[name], facts[name], answer(name)
    except (EOFError, ConnectionError):
        raise UserError(f"the process of {name} ended early: out of memory, or for a reason of its own that is told above") from None
    finally:
        for process in processes:
            process.terminate()
            process.join()
    return results


def start_deaf(process):
    """Start a process that does not hear Ctrl-C, which a terminal sends to all: the command hears it, says so once and ends the others."""
    if os.name == "nt":                                                 # there is nothing to inherit there
        return process.start()
    resource_tracker.ensure_running()                                   # its start would unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})           # a new process inherits this; the command hears it afterwards
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def work(pipe, seconds, make, *arguments):
    """A contender's process: its facts when it is warm; at each "go" steps for a while -> seconds a step; at "stop" peak memory.
    A failure is sent as a UserError, for the command to tell."""
    try:
        step, facts = make(*arguments)
        for _ in range(3):
            step()
        pipe.send(facts)
        while pipe.recv() == "go":
            calls, took = repeat(step, seconds)
            pipe.send(took / calls)
        pipe.send(peak_bytes() / 1e6)
    except (EOFError, ConnectionError, KeyboardInterrupt):
        pass                                                            # the command has ended, and it is for it to say why
    except Exception as e:
        failure = UserError(str(e).strip().partition("\n")[0] or type(e).__name__)
        failure.add_note(traceback.format_exc())                        # for --traceback
        pipe.send(failure)


# ---- the training step

def measure(contenders, size, linear, rounds, threads):
    """-> {"size", "linear", "threads", "rounds", contender: {"tokens_per_s", "peak_mb", "ours_to_this": {"median", "least", "most"}}}"""
    results = take_turns({name: (training_step, name, size, linear, threads) for name in contenders}, rounds, seconds=0.5)
    row = {"size": size, "linear": linear, "threads": threads, "rounds": rounds}
    for name, (times, facts, peak) in results.items():
        row[name] = {"tokens_per_s": median(facts["tokens"] / t for t in times), "peak_mb": peak,
                     "ours_to_this": ratio(times, results[OURS][0])}
    return row


def training_step(name, size, linear, threads):
    """-> a function that makes one step as ``name`` does, {"tokens": of a step}"""
    config, ids, targets = task(size, linear)
    if name in (OURS, FLOOR):
        step = (our_step if name == OURS else gemms)(config, ids, targets, ThreadPoolExecutor(threads))
    else:
        from .measure.peers import training_step
        step = training_step(config, ids, targets, threads, compiled=name == COMPILED)
    return step, {"tokens": ids.size}


def task(size, linear):
    """-> ModelConfig, ids, targets of one step; every contender gets the same."""
    sizes, batch = SIZES[size]
    config = ModelConfig(linear=linear, **sizes)
    return config, *np.random.default_rng(0).integers(0, config.vocab_size, (2, batch, config.context))


def our_step(config, ids, targets, pool):
    """A function that makes one step of ours on the batch."""
    model = Transformer(config)
    optimizer = AdamW(model.parameters())

    def step():
        _, grads = loss_and_gradients(model.quantized(training=True), ids, targets, pool)
        clip_global_norm(grads, 1.0)
        optimizer.step(grads, lr=1e-3, weight_decay=0.1)
    return step


def gemms(config, ids, targets, pool):
    """The three products of every matrix of the model, y = W x, dx = W^T g, dW = g x^T, for every shard, and nothing else."""
    shapes = [p.data.shape for name, p in Transformer(config).parameters().items() if p.data.ndim == 2 and name != "embed_tokens.weight"]
    shards = number_of_shards(ids)
    arrays = {shape: [np.ones(s, np.float32) for s in (shape, (shape[1], ids.size // shards), (shape[0], ids.size // shards))] for shape in shapes}

    def shard(_):
        for shape in shapes:
            W, x, g = arrays[shape]
            W @ x, W.T @ g, g @ x.T
    return lambda: list(pool.map(shard, range(shards)))


# ---- the kernels

def dense_shared_out(w, codes, threads):
    """float32 rows in equal parts, one for each thread."""
    pool = ThreadPoolExecutor(threads)
    return w.astype(np.float32), lambda W: list(pool.map(lambda rows: rows @ codes, np.array_split(W, threads))), threads


def pytorch_dense(w, codes, threads):
    """The same product by PyTorch."""
    from .measure.peers import dense_product
    return dense_product(w, codes, threads)


DENSE, SHARED, PYTORCH = "dense float32", "dense, shared out", "PyTorch dense"
KERNELS = {  # name: (int8 (n, m), float32 codes (m, N), threads) -> the matrix as it is kept, a function of it that multiplies, its threads
    DENSE: lambda w, codes, threads: (w.astype(np.float32), lambda W: W @ codes, 1),
    SHARED: dense_shared_out,
    PYTORCH: pytorch_dense,
    "unpack every call": lambda w, codes, threads: (pack_ternary(w), lambda packed: unpack_ternary(packed, len(w)).astype(np.float32) @ codes, 1),
    "BLAS by tiles": lambda w, codes, threads: (bit_planes(w), partial(by_blas, codes, pool=ThreadPoolExecutor(threads)), threads),
    "lookup tables": lambda w, codes, threads: (table_indices(w), partial(by_lookup, codes), 1),
    "bit planes": lambda w, codes, threads: (bit_planes(w), partial(by_bit_planes, codes), 1),
}


def measure_kernels(contenders, n, m, tokens, rounds, threads):
    """-> {"shape", "tokens", "threads", "rounds", contender: {"ms", "ns_per_weight", "bytes_per_weight", "threads", "to_dense"}}"""
    results = take_turns({name: (kernel_call, name, n, m, tokens, threads) for name in contenders}, rounds, seconds=0.2)
    dense = min((results[name][0] for name in (DENSE, SHARED)), key=median)
    row = {"shape": f"{n}x{m}", "tokens": tokens, "threads": threads, "rounds": rounds}
    for name, (times, facts, _) in results.items():
        row[name] = {"ms": 1e3 * median(times), "ns_per_weight": 1e9 * median(times) / (n * m), **facts,
                     "to_dense": ratio(times, dense)["median"]}
    return row


def kernel_call(name, n, m, tokens, threads):
    """-> a function that makes one product, each time with another copy of the matrix; {"bytes_per_weight", "threads"}"""
    rng = np.random.default_rng(0)
    w, codes = rng.integers(-1, 2, (n, m), np.int8), rng.integers(-127, 128, (m, tokens)).astype(np.float32)
    matrix, multiply, used = KERNELS[name](w, codes, threads)
    following = streamed(matrix, matrix.nbytes)
    return lambda: multiply(next(following)), {"bytes_per_weight": matrix.nbytes / w.size, "threads": used}


def kernels_in_words(row, contenders):
    """A row of ``measure_kernels`` as a table to print."""
    lines = [f"{row['shape']}, {row['tokens']} token{'s' * (row['tokens'] > 1)}, median of {row['rounds']} rounds",
             f"  {'':18}{'threads':>7}{'ms':>9}{'ns/weight':>11}{'bytes/weight':>14}{'to dense':>10}"]
    for name in contenders:
        r = row[name]
        lines.append(f"  {name:18}{r['threads']:>7}{r['ms']:>9.3f}{r['ns_per_weight']:>11.3f}{r['bytes_per_weight']:>14.3f}{r['to_dense']:>10.2f}")
    return "\n".join(lines)


# ---- whole models, one token at a time

PROMPT = 64              # tokens that are read at once
PACKED, FLOAT, INTEGER = "packed engine", "float engine", "integer engine"


def measure_decode(name, rounds, threads):
    """-> {"shape", "context", "threads", "rounds", contender: {"decode_tokens_per_s", "prefill_tokens_per_s", "peak_mb", "weights_mb",
    "ours_to_this"}}. 16-bit embeddings where the model is large."""
    c, contenders = ModelConfig(**SHAPES[name]), [PACKED] if name == "2b4t" else [PACKED, FLOAT, INTEGER]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "packed.safetensors"
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:         # not here: Linux counts a parent's peak as its children's
            try:
                pool.submit(write_model, file, c, "bfloat16" if name == "2b4t" else "float32").result()
            except BrokenExecutor:
                raise UserError(f"the process that writes the model of shape {name} ended early: expected memory for one matrix at a time") from None
        results = take_turns({contender: (decoding, contender, c, file, threads) for contender in contenders}, rounds, seconds=0.5)
    row = {"shape": name, "context": c.context, "threads": threads, "rounds": rounds}
    for contender, (times, facts, peak) in results.items():
        row[contender] = {"decode_tokens_per_s": 1 / median(times), **facts, "peak_mb": peak,
                          "ours_to_this": ratio(times, results[PACKED][0])}
    return row


def decoding(contender, c, file, threads):
    """-> a function that decodes one token, {"prefill_tokens_per_s", "weights_mb"}"""
    engine, nbytes = {PACKED: packed_engine, FLOAT: float_engine, INTEGER: integer_engine}[contender](c, file, threads)
    prompt = np.random.default_rng(0).integers(0, c.vocab_size, (1, PROMPT))
    caches, prefills, ids = engine.new_caches(), [], prompt[:, -1:]

    def prefill():
        for cache in caches:
            cache.length = 0
        began = time.perf_counter()
        engine(prompt, caches, last=True)
        prefills.append(time.perf_counter() - began)
    for _ in range(3):
        prefill()

    def step():
        nonlocal ids
        if caches[0].length == c.context:
            prefill()
        ids = engine(ids, caches, last=True)[:, 0, :].argmax(0)[None]
    return step, {"prefill_tokens_per_s": PROMPT / median(prefills), "weights_mb": nbytes / 1e6}


def packed_engine(c, file, threads):
    """The packed engine of a file, its weights' bytes."""
    engine = PackedModel(c, *weights_of(file), threads)
    return engine, sum(map(packed_bytes, engine.blocks)) + engine.embedding.nbytes + (0 if c.tied else engine.head.nbytes)


def float_engine(c, file, threads):
    """A random model's float engine, its latent weights' bytes."""
    return FloatEngine(Transformer(c)), 4 * c.n_parameters


def integer_engine(c, file, threads):
    """The integer engine of a file, its weights' bytes."""
    engine = IntegerModel(c, *weights_of(file))
    planes = sum(linear.planes.nbytes for block in engine.blocks for linear in block if hasattr(linear, "planes"))
    return engine, planes + engine.embedding.codes.nbytes + (0 if c.tied else engine.head.codes.nbytes)


def weights_of(file):
    """A packed file's matrices and arrays."""
    return load(file, lambda config: ModelConfig(**config["model"]))[3:]


def decode_in_words(row):
    """A row of ``measure_decode`` as a table to print."""
    lines = [f"{row['shape']}, context {row['context']:,}, {row['threads']} threads, median of {row['rounds']} rounds",
             f"  {'':14}{'decode tok/s':>14}{'prompt tok/s':>14}{'weights MB':>12}{'peak MB':>9}{'packed / this':>14}"]
    for name in (PACKED, FLOAT, INTEGER):
        if name in row:
            r = row[name]
            lines.append(f"  {name:14}{r['decode_tokens_per_s']:>14.1f}{r['prefill_tokens_per_s']:>14.1f}{r['weights_mb']:>12,.1f}"
                         f"{r['peak_mb']:>9,.0f}{r['ours_to_this']['median']:>14.2f}")
    return "\n".join(lines)


def shape(text):
    """A type for flags: "2560x6912" -> (2560, 6912)."""
    n, times, m = text.partition("x")
    if not (times and n.isdecimal() and m.isdecimal() and int(n) and int(m)):
        raise argparse.ArgumentTypeError(f"{text}: expected outputs x inputs, such as 2560x6912")
    if not exact_in_float32(int(m)):
        raise argparse.ArgumentTypeError(f"{text}: expected fewer inputs, whose sums of products float32 still holds exactly")
    if int(n) * int(m) > MAX_PARAMETERS:
        raise argparse.ArgumentTypeError(f"{text}: expected at most {MAX_PARAMETERS:,} weights; is a size mistyped?")
    return int(n), int(m)


# ---- where the time goes

class SameThread:
    map = staticmethod(map)                           # a pool of no threads, for the profiler sees one thread only


PRODUCTS, ATTENTION, PYTHON = "matrix products", "attention, its products too", "tape, layers, Python"


def profile(size, linear):
    """Where the time of our step goes, on one thread, in ms -> {"size", "linear", "ms": a step's, "system_ms": what of it the system
    took (to map and clear pages of memory), "by_op": {name: a step's while profiled}}"""
    step = our_step(*task(size, linear), SameThread())
    step()
    system = os.times().system
    steps, took = repeat(step, seconds=0, at_least=4)
    system = os.times().system - system
    profiler = cProfile.Profile()
    profiler.runcall(repeat, step, seconds=0, at_least=steps)
    return {"size": size, "linear": linear, "ms": 1e3 * took / steps, "system_ms": 1e3 * system / steps,
            "by_op": {name: 1e3 * seconds / steps for name, seconds in by_op(pstats.Stats(profiler)).items()}}


def profile_in_words(rows):
    """Rows of ``profile`` as the columns of a table to print: what takes longest in the last one first, what rounds to 0.0% in all not at all."""
    totals = [sum(row["by_op"].values()) for row in rows]
    times = {name: [row["by_op"].get(name, 0.0) for row in rows] for row in reversed(rows) for name in row["by_op"]}
    times = {name: ms for name, ms in times.items() if max(map(operator.truediv, ms, totals)) >= 0.0005}

    def line(name, cells):
        return f"{name:27}" + "".join(f"{cell:>17}" for cell in cells)

    def shares(ms):
        return [f"{part:,.1f}{part / total:7.1%}" for part, total in zip(ms, totals)]

    def alone(key):
        return [f"{row[key]:,.1f}{'':7}" for row in rows]
    return "\n".join([line("ms a step, one thread", [f"{row['size']} {row['linear']}" for row in rows]),
                      *(line(name, shares(ms)) for name, ms in sorted(times.items(), key=lambda item: -item[1][-1])),
                      line("in all, while profiled", shares(totals)),
                      line("by itself", alone("ms")),
                      line("... in the system (memory)", alone("system_ms"))])


def by_op(stats):
    """pstats.Stats -> {name: seconds}, all of them; time in NumPy and in exact.py counts for the op that called it, the layers' products for
    themselves, and what layers have made ready for products beforehand for ``ready``."""
    homes = {}                                        # (file, first line .. last line) of every op
    for module in (ops, ste):
        for name, fn in vars(module).items():
            if hasattr(fn, "forward"):
                lines, first = inspect.getsourcelines(fn)
                homes[ATTENTION if fn is ops.causal_attention else name] = (module.__file__, range(first, first + len(lines)))

    def home(function):
        file, line, name = function
        if name == "dequantize" or "quant.py" in file:
            return "quantizers"
        for op, (op_file, lines) in homes.items():
            if file == op_file and line in lines:
                return op
        if name == "backward" and os.path.basename(file) == "autograd.py":
            return "sums on the tape"
        return {"optim.py": "AdamW, clipping", "training.py": "sum over shards"}.get(os.path.basename(file))

    def foreign(function):
        # built in, made by a named tuple (they all have one name, under which a profile keeps one of them), NumPy's, or exact.py's
        return function[0].startswith(("~", "<string>", os.path.dirname(np.__file__), exact.__file__))

    def home_of_call(function, caller):               # of a foreign function with all that it calls in turn
        name = home(caller)
        if function[0] != exact.__file__:
            return name
        return PRODUCTS if function[2] in ("product", "fine_product") and name != ATTENTION else name or ops.ready.__name__

    times = {}

    def add(name, seconds):
        times[name or PYTHON] = times.get(name or PYTHON, 0.0) + seconds
    for function, (_, _, own, _, callers) in stats.stats.items():
        if not foreign(function):
            add(home(function), own)
        for caller, (_, _, _, whole) in callers.items():
            if foreign(function) and not foreign(caller):
                add(home_of_call(function, caller), whole)
            if not foreign(function) and foreign(caller):
                add(home(function), -whole)           # a generator that sum() draws from, say: counted with sum() already
    return times


if __name__ == "__main__":
    _command.run(main)
