"""Measure, side by side and in one run:  python -m minibitnet.bench train  ·  python -m minibitnet.bench kernels"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import argparse
import cProfile
import importlib.util
import inspect
import json
import multiprocessing
import os
import pstats
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from .api import FloatEngine
from .errors import UserError
from .experiments.random_models import SHAPES, packed_bytes, write_model
from .experiments.timing import peak_bytes, repeat, streamed
from .formats.packed import load
from .inference.integer import IntegerModel
from .inference.kernels import bit_planes, by_bit_planes, by_blas, by_lookup, table_indices
from .inference.packed import PackedModel
from .nn import ops, ste
from .nn.config import ModelConfig
from .nn.model import Transformer
from .nn.optim import AdamW, clip_global_norm
from .nn.training import loss_and_gradients, number_of_shards
from .packing import pack_ternary, unpack_ternary

DESCRIPTION = """train: tokens/s and peak memory of one training step (forward, backward, clipping, AdamW) beside PyTorch's step of the same
model, eager and compiled, and beside the step's matrix products alone (without attention's), the floor for any code.

kernels: milliseconds of one product of a ternary matrix with 8-bit activations, by every kernel that reads 2 bits a weight,
beside dense float32 (NumPy's on one thread and with the rows shared out to all; PyTorch's) and beside unpacking the matrix
at every call. Each call takes another copy of the matrix, as in a model, so large ones are read from memory, not from a cache.

decode: tokens/s of a random model of a known shape, one token after another with a key-value cache, and of reading a prompt;
memory from the loading of its file on (packed.safetensors in a temporary folder: 1.2 GB for 2b4t). Beside the packed engine, for the
smaller shapes, the integer engine of the same file, and the float engine (codes in float32) of random weights too.

Each contender has a process of its own and they take turns, a few steps at a time: what the machine does meanwhile hits
all of them alike. Figures are medians over the rounds, ratios are medians of the rounds' ratios; MB are 10^6 bytes. --profile shows
where our own step's time goes, on one thread."""

SIZES = {  # name: (model, sequences a step)
    "S": (dict(vocab_size=512, d_model=128, n_heads=4, d_ffn=352, n_layers=4, context=128), 16),
    "M": (dict(vocab_size=1024, d_model=256, n_heads=4, d_ffn=704, n_layers=6, context=256), 16),
    "L": (dict(vocab_size=4096, d_model=512, n_heads=8, d_ffn=1408, n_layers=8, context=256), 16),
}
OPTIONS = {  # what is measured: {its own flags: what they are if not given}
    "train": {"sizes": ["S", "M"], "linear": ["ternary", "float"], "compile": False, "profile": False},
    "kernels": {"shapes": [(13824, 2560), (2560, 6912), (2560, 2560), (768, 288), (288, 288)], "tokens": 1},
    "decode": {"shape": "15m"},
}
OURS, EAGER, COMPILED, FLOOR = "minibitnet", "PyTorch eager", "torch.compile", "GEMMs alone"


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("bench", DESCRIPTION)
    parser.add_argument("what", choices=tuple(OPTIONS))

    def add(name, help, **options):              # a flag that is not given leaves no attribute
        parser.add_argument(name, help=help, default=argparse.SUPPRESS, **options)
    add("--shapes", "kernels: outputs x inputs (13824x2560 2560x6912 2560x2560 768x288 288x288)", nargs="+", type=shape, metavar="NxM")
    add("--tokens", "kernels: columns of activations (1)", type=_command.positive_int, metavar="N")
    add("--shape", "decode: of tiny 15m 2b4t (15m)", choices=tuple(SHAPES), metavar="MODEL")
    add("--sizes", "train: of S M L (S M)", nargs="+", choices=tuple(SIZES), metavar="SIZE")
    add("--linear", "train: of ternary float (both)", nargs="+", choices=("ternary", "float"), metavar="ARM")
    add("--compile", "train: also torch.compile (needs a C++ compiler; a minute or two to warm up)", action="store_true")
    add("--profile", "train: where the time of our step goes, instead of the comparison", action="store_true")
    parser.add_argument("--rounds", type=_command.positive_int, default=9, metavar="N", help="turns that each contender takes (%(default)s)")
    parser.add_argument("--threads", type=_command.positive_int, default=_command.available_cpus(), metavar="N",
                        help="threads to use (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    args = parser.parse_args(argv)
    for what, options in OPTIONS.items():
        for name in options:
            if what != args.what and hasattr(args, name):
                parser.error(f"--{name}: expected bench {what}; bench {args.what} has no use for it")
    args = argparse.Namespace(**OPTIONS[args.what] | vars(args))

    torch = importlib.util.find_spec("torch")
    if not torch and args.what != "decode" and not getattr(args, "profile", False):
        _command.say("PyTorch is not installed (extra 'peers'): our own figures only")
    if args.what == "kernels":
        contenders = [name for name in KERNELS if torch or name != PYTORCH]
        for n, m in args.shapes:
            row = measure_kernels(contenders, n, m, args.tokens, args.rounds, args.threads)
            print(json.dumps(row) if args.json else kernels_in_words(row, contenders), flush=True)
        return _command.DONE

    if args.what == "decode":
        row = measure_decode(args.shape, args.rounds, args.threads)
        print(json.dumps(row) if args.json else decode_in_words(row))
        return _command.DONE

    contenders = [OURS, FLOOR]
    if torch and not args.profile:
        contenders.append(EAGER)
        if args.compile and not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")):
            raise UserError("--compile: torch.compile needs a C++ compiler, and none is on the PATH")
        contenders += [COMPILED] * args.compile
    for size in args.sizes:
        for linear in args.linear:
            if args.profile:
                profile(size, linear)
                continue
            row = measure(contenders, size, linear, args.rounds, args.threads)
            print(json.dumps(row) if args.json else in_words(row, contenders), flush=True)
    return _command.DONE


def in_words(row, contenders):
    """A row of ``measure`` as a few lines to print."""
    lines = [f"{row['size']} {row['linear']}, {row['threads']} threads, median of {row['rounds']} rounds"]
    for name in contenders:
        ratio = "" if name == OURS else f"   ours is {row[name]['ours_to_this']:.2f} of it"
        lines.append(f"  {name:14}{row[name]['tokens_per_s']:>9,.0f} tok/s{row[name]['peak_mb']:>7,.0f} MB{ratio}")
    return "\n".join(lines)


# ---- side by side

def take_turns(jobs, rounds, seconds):
    """jobs: {name: (make, its arguments)}, make(*arguments) -> a step to call, and facts. Each has a process of its own.

    -> {name: (seconds a step in every round, facts, peak memory in MB)}
    """
    spawn = multiprocessing.get_context("spawn")
    pipes, processes, times, facts, results = {}, [], {name: [] for name in jobs}, {}, {}
    try:
        for name, job in jobs.items():
            pipes[name], theirs = spawn.Pipe()
            processes.append(spawn.Process(target=work, args=(theirs, seconds, *job), daemon=True))
            processes[-1].start()
            theirs.close()
            facts[name] = heard(pipes[name])          # when it is warm, and before the next one starts: some measure meanwhile
        for _ in range(rounds):
            for name in jobs:
                pipes[name].send("go")
                times[name].append(heard(pipes[name]))
        for name in jobs:
            pipes[name].send("stop")
            results[name] = times[name], facts[name], heard(pipes[name])
    except EOFError:
        raise UserError(f"the process of {name} ended early: its own message is above, or there was too little memory") from None
    for process in processes:
        process.join()
    return results


def heard(pipe):
    """What a contender's process sends; raised where that is an exception."""
    message = pipe.recv()
    if isinstance(message, Exception):
        raise message
    return message


def work(pipe, seconds, make, *arguments):
    """A contender's process: its facts when it is warm; at each "go" steps for a while -> seconds a step; at "stop" peak memory. Instead of
    each of these a UserError, where the machine is too small for it."""
    try:
        step, facts = make(*arguments)
        for _ in range(3):
            step()
        pipe.send(facts)
        while pipe.recv() == "go":
            calls, took = repeat(step, seconds)
            pipe.send(took / calls)
        pipe.send(peak_bytes() / 1e6)
    except (UserError, MemoryError, OSError) as e:
        pipe.send(UserError(str(e) or "out of memory"))


# ---- the training step

def measure(contenders, size, linear, rounds, threads):
    """-> {"size", "linear", "threads", "rounds", contender: {"tokens_per_s", "peak_mb", "ours_to_this"}}"""
    results = take_turns({name: (training_step, name, size, linear, threads) for name in contenders}, rounds, seconds=0.5)
    row = {"size": size, "linear": linear, "threads": threads, "rounds": rounds}
    for name, (times, facts, peak) in results.items():
        row[name] = {"tokens_per_s": median(facts["tokens"] / t for t in times), "peak_mb": peak,
                     "ours_to_this": median(its / ours for ours, its in zip(results[OURS][0], times))}
    return row


def training_step(name, size, linear, threads):
    """-> a function that makes one step as ``name`` does, {"tokens": of a step}"""
    config, ids, targets = task(size, linear)
    if name in (OURS, FLOOR):
        step = (our_step if name == OURS else gemms)(config, ids, targets, ThreadPoolExecutor(threads))
    else:
        from .experiments.peers import training_step
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
            ops.matmul(W, x), ops.matmul(W.T, g), ops.outer(g, x)
    return lambda: list(pool.map(shard, range(shards)))


# ---- the kernels

def dense_shared_out(w, codes, threads):
    """float32 rows in equal parts, one for each thread."""
    pool = ThreadPoolExecutor(threads)
    return w.astype(np.float32), lambda W: list(pool.map(lambda rows: rows @ codes, np.array_split(W, threads))), threads


def pytorch_dense(w, codes, threads):
    """The same product by PyTorch."""
    from .experiments.peers import dense_product
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
                     "to_dense": median(its / base for base, its in zip(dense, times))}
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
            pool.submit(write_model, file, c, "bfloat16" if name == "2b4t" else "float32").result()
        results = take_turns({contender: (decoding, contender, c, file, threads) for contender in contenders}, rounds, seconds=0.5)
    row = {"shape": name, "context": c.context, "threads": threads, "rounds": rounds}
    for contender, (times, facts, peak) in results.items():
        row[contender] = {"decode_tokens_per_s": 1 / median(times), **facts, "peak_mb": peak,
                          "ours_to_this": median(its / ours for ours, its in zip(results[PACKED][0], times))}
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
                         f"{r['peak_mb']:>9,.0f}{r['ours_to_this']:>14.2f}")
    return "\n".join(lines)


def shape(text):
    """A type for flags: "2560x6912" -> (2560, 6912)."""
    n, times, m = text.partition("x")
    if not (times and n.isdecimal() and m.isdecimal() and int(n) and int(m)):
        raise argparse.ArgumentTypeError(f"{text}: expected outputs x inputs, such as 2560x6912")
    return int(n), int(m)


# ---- where the time goes

class SameThread:
    map = staticmethod(map)                           # a pool of no threads, for the profiler sees one thread only


def profile(size, linear, steps=4):
    """Print a table of our step's time by op, on one thread."""
    config, ids, targets = task(size, linear)
    step = our_step(config, ids, targets, SameThread())
    step()
    began = time.perf_counter()
    for _ in range(steps):
        step()
    plain = time.perf_counter() - began
    profiler = cProfile.Profile()
    profiler.runcall(lambda: [step() for _ in range(steps)])
    times = by_op(pstats.Stats(profiler))
    total = sum(sum(parts.values()) for parts in times.values())
    print(f"{size} {linear}: {plain / steps * 1e3:,.0f} ms a step on one thread (profiled {total / steps * 1e3:,.0f} ms, of which)")
    print(f"  {'':22}{'GEMM':>8}{'other':>8}   ms a step")
    for name, parts in sorted(times.items(), key=lambda item: -sum(item[1].values())):
        share = sum(parts.values()) / total
        if share >= 0.002:
            print(f"  {name:22}{parts['gemm'] / steps * 1e3:>8.1f}{parts['other'] / steps * 1e3:>8.1f}   {share:6.1%}")


def by_op(stats):
    """pstats.Stats -> {name: {"gemm": seconds, "other": seconds}}; time in NumPy counts for the op that called it."""
    homes = {}                                        # (file, first line .. last line) of every op
    for module in (ops, ste):
        for name, fn in vars(module).items():
            if hasattr(fn, "forward"):
                lines, first = inspect.getsourcelines(fn)
                homes[name] = (module.__file__, range(first, first + len(lines)))

    def home(function):
        file, line, name = function
        if name == "dequantize" or "quant.py" in file:
            return "quantizers"
        for op, (op_file, lines) in homes.items():
            if file == op_file and line in lines:
                return op
        if file == ops.__file__ and name in ("matmul", "outer"):
            return "gemm"
        return {"optim.py": "AdamW, clipping", "training.py": "sum over shards"}.get(os.path.basename(file))

    times, numpy_files = {}, os.path.dirname(np.__file__)

    def add(name, part, seconds):
        times.setdefault(name, {"gemm": 0.0, "other": 0.0})[part] += seconds
    for function, (_, _, own, _, callers) in stats.stats.items():
        mine = home(function)
        if mine not in (None, "gemm"):
            add(mine, "other", own)
            continue
        for caller, (_, _, own, whole) in callers.items():   # NumPy's functions, or the two products: their caller's
            if caller[0].startswith(numpy_files):             # inside a method like .sum(), which counts as a whole
                continue
            seconds = whole if function[0].startswith(numpy_files) else own
            add(home(caller) if home(caller) not in (None, "gemm") else "tape and Python", "gemm" if mine == "gemm" else "other", seconds)
    return times


if __name__ == "__main__":
    _command.run(main)
