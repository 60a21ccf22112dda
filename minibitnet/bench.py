"""Measure, side by side and in one run:  python -m minibitnet.bench train"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import importlib.util
import json
import multiprocessing
import os
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

from .errors import UserError
from .nn.model import ModelConfig, Transformer
from .nn.optim import AdamW, clip_global_norm
from .nn.training import loss_and_gradients

DESCRIPTION = """train: tokens/s of one training step (forward, backward, clipping, AdamW) beside PyTorch's eager step of the same model.

Each contender has a process of its own and they take turns, a few steps at a time: what the machine does meanwhile hits
all of them alike. Figures are medians over the rounds, ratios are medians of the rounds' ratios."""

SIZES = {  # name: (model, sequences a step)
    "S": (dict(vocab_size=512, d_model=128, n_heads=4, d_ffn=352, n_layers=4, context=128), 16),
    "M": (dict(vocab_size=1024, d_model=256, n_heads=4, d_ffn=704, n_layers=6, context=256), 16),
}


def main(argv):
    parser = _command.Parser("bench", DESCRIPTION)
    parser.add_argument("what", choices=("train",))
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=list(SIZES), metavar="SIZE", help="of S M (all)")
    parser.add_argument("--linear", nargs="+", choices=("ternary", "float"), default=["ternary", "float"], metavar="ARM",
                        help="of ternary float (both)")
    parser.add_argument("--rounds", type=_command.positive_int, default=9, metavar="N", help="(%(default)s)")
    parser.add_argument("--threads", type=_command.positive_int, default=_command.available_cpus(), metavar="N", help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row")
    args = parser.parse_args(argv)

    contenders = ["minibitnet"]
    if importlib.util.find_spec("torch"):
        contenders.append("PyTorch eager")
    else:
        _command.say("PyTorch is not installed (extra 'peers'): our own figures only")
    if not args.json:
        print(f"one training step, {args.threads} threads, median of {args.rounds} rounds\n"
              f"{'':14}" + "".join(f"{name:>24}" for name in contenders) + ("   ratio" if len(contenders) > 1 else ""))
    for size in args.sizes:
        for linear in args.linear:
            row = measure(contenders, size, linear, args.rounds, args.threads)
            if args.json:
                print(json.dumps(row), flush=True)
            else:
                print(f"{size} {linear:12}" + "".join(f"{row[name]['tokens_per_s']:>10,.0f} tok/s {row[name]['peak_mb']:>4.0f} MB"
                                                     for name in contenders)
                      + (f"   {row['ratio']:.2f}" if "ratio" in row else ""), flush=True)
    return _command.DONE


def measure(contenders, size, linear, rounds, threads):
    """-> {"size", "linear", contender: {"tokens_per_s", "peak_mb"}, "ratio" of ours to PyTorch's}"""
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in contenders:
        pipes[name], theirs = spawn.Pipe()
        processes.append(spawn.Process(target=work, args=(theirs, name, size, linear, threads), daemon=True))
        processes[-1].start()
        theirs.close()
    try:
        speeds = {name: [] for name in contenders}
        for _ in range(rounds):
            for name in contenders:
                pipes[name].send("go")
                speeds[name].append(pipes[name].recv())
        row = {"size": size, "linear": linear, "threads": threads, "rounds": rounds}
        for name in contenders:
            pipes[name].send("stop")
            row[name] = {"tokens_per_s": median(speeds[name]), "peak_mb": pipes[name].recv()}
    except EOFError:
        raise UserError(f"the process of {name} ended early (its own message is above)") from None
    if len(contenders) > 1:
        row["ratio"] = median(a / b for a, b in zip(*speeds.values()))
    for process in processes:
        process.join()
    return row


def work(pipe, name, size, linear, threads):
    """A contender's process: steps for about half a second at each "go" -> tokens/s; at "stop" -> peak memory in MB."""
    sizes, batch = SIZES[size]
    config = ModelConfig(linear=linear, **sizes)
    ids, targets = np.random.default_rng(0).integers(0, config.vocab_size, (2, batch, config.context))
    if name == "minibitnet":
        step = our_step(config, ids, targets, threads)
    else:
        from .experiments.peers import training_step
        step = training_step(config, ids, targets, threads)
    for _ in range(3):
        step()
    while pipe.recv() == "go":
        began, steps = time.perf_counter(), 0
        while steps < 3 or time.perf_counter() - began < 0.5:
            step()
            steps += 1
        pipe.send(steps * ids.size / (time.perf_counter() - began))
    pipe.send(peak_mb())


def our_step(config, ids, targets, threads):
    model, pool = Transformer(config), ThreadPoolExecutor(threads)
    optimizer = AdamW(model.parameters())

    def step():
        loss, grads = loss_and_gradients(model.quantized(training=True), ids, targets, pool)
        clip_global_norm(grads, 1.0)
        optimizer.step(grads, lr=1e-3, weight_decay=0.1)
        return loss
    return step


def peak_mb():
    if os.name == "nt":
        return float("nan")
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if os.uname().sysname == "Darwin" else 2**10)


if __name__ == "__main__":
    _command.run(main)
