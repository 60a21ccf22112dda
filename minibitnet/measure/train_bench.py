"""One training step (forward, backward, clipping, AdamW) beside PyTorch's and its matrix products alone."""
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np

from ..nn.config import ModelConfig
from ..nn.model import Transformer
from ..nn.optim import AdamW
from ..nn.ranks import ALONE
from ..nn.training import number_of_shards, step
from .timing import processes_take_turns, ratio, spread

SIZES = {  # name: (model, sequences a step)
    "S": (dict(vocab_size=512, d_model=128, n_heads=4, d_ffn=352, n_layers=4, context=128), 16),
    "M": (dict(vocab_size=1024, d_model=256, n_heads=4, d_ffn=704, n_layers=6, context=256), 16),
    "L": (dict(vocab_size=4096, d_model=512, n_heads=8, d_ffn=1408, n_layers=8, context=256), 16),
}
OURS, EAGER, COMPILED, GEMMS = "minibitnet", "PyTorch eager", "torch.compile", "GEMMs alone"


def measure(contenders, size, linear, rounds, threads):
    """-> {"size", "linear", "threads", "rounds", contender: {"tokens_per_s", "peak_mb", "ours_to_this":
    {"median", "least", "most"}}}. Ours to this: the quotient of speeds, above 1 where ours is faster."""
    jobs = {name: (training_step, name, size, linear, threads) for name in contenders}
    results = processes_take_turns(jobs, rounds, seconds=0.5)
    row = {"size": size, "linear": linear, "threads": threads, "rounds": rounds}
    for name, (times, facts, peak) in results.items():
        row[name] = {"tokens_per_s": median(facts["tokens"] / t for t in times), "peak_mb": peak,
                     "ours_to_this": ratio(times, results[OURS][0])}
    return row


def training_step(name, size, linear, threads):
    """-> a function that makes one step as ``name`` does, {"tokens": of a step}"""
    config, ids, targets = task(size, linear)
    if name in (OURS, GEMMS):
        make_step = (our_step if name == OURS else gemms)(config, ids, targets, ThreadPoolExecutor(threads))
    else:
        from .peers import pytorch_step
        make_step = pytorch_step(config, ids, targets, threads, compiled=name == COMPILED)
    return make_step, {"tokens": ids.size}


def task(size, linear):
    """-> ModelConfig, ids, targets of one step; every contender gets the same."""
    sizes, batch = SIZES[size]
    config = ModelConfig(linear=linear, **sizes)
    return config, *np.random.default_rng(0).integers(0, config.vocab_size, (2, batch, config.context))


def our_step(config, ids, targets, pool, ranks=ALONE):
    """A function that makes one step of ours on the batch."""
    model = Transformer(config)
    optimizer, quantized = AdamW(model.parameters()), model.quantized(training=True)
    ranks.own({name: a.shape for name, a in model.arrays().items()})

    def make_step():
        nonlocal quantized
        _, _, quantized = step(model, quantized, optimizer, (ids, targets), pool, lr=1e-3,
                               weight_decay=0.1, clip=1.0, ranks=ranks)
    return make_step


def gemms(config, ids, targets, pool):
    """The three products of every matrix of the model, y = W x, dx = W^T g, dW = g x^T, for every shard, and
    nothing else."""
    parameters, shards = Transformer(config).parameters(), number_of_shards(*ids.shape)
    matrices = [p.data for name, p in parameters.items() if p.data.ndim == 2
                and name != "embed_tokens.weight"]
    tokens = ids.size // shards
    shapes = [W.shape for W in matrices]
    arrays = {(n, m): [np.ones(s, np.float32) for s in ((n, m), (m, tokens), (n, tokens))] for n, m in shapes}

    def shard(_):
        for shape in shapes:
            W, x, g = arrays[shape]
            W @ x, W.T @ g, g @ x.T
    return lambda: list(pool.map(shard, range(shards)))


def in_words(row, contenders):
    """A row of ``measure`` as a few lines to print."""
    lines = [f"{row['size']} {row['linear']}, {row['threads']} threads, median of {row['rounds']} rounds"]
    for name in contenders:
        r = row[name]
        beside = "" if name == OURS else f"   ours / this {spread(r['ours_to_this'])}"
        lines.append(f"  {name:14}{r['tokens_per_s']:>9,.0f} tok/s{r['peak_mb']:>7,.0f} MB{beside}")
    return "\n".join(lines)
