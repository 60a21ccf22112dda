"""One sha256 for every processor, BLAS kernel, NumPy and number of threads:

    python tests/exact_matrix.py --out data/results/exact.json

Trains a small model of each variant in a process for each cell of the matrix

    OPENBLAS_CORETYPE          unset and five kernels, old and new
    NPY_DISABLE_CPU_FEATURES   nothing, and NumPy's own vector code switched off in four steps
    NumPy                      that of each --python (environments with other versions, say)
    threads                    1, 2, 4

and compares the sha256 of the parameters, of every loss and gradient norm, and of what the engines then say.
With --tiny it also makes the tiny run. ``work`` alone prints one cell's, on any machine that has the package:

    python tests/exact_matrix.py work 200 2
"""
import argparse
import hashlib
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
KERNELS = (None, "Haswell", "SkylakeX", "Zen", "Sandybridge", "Prescott")
THREADS = (1, 2, 4)
VARIANTS = ("ternary", "binary", "float")
STEPS, GOLDEN = 200, 30
VARIABLES = "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NPY_DISABLE_CPU_FEATURES"
# NumPy 2.4 has named its groups of features anew; what a version does not know it does not switch off
OLD_V4 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
NEW_V4 = "X86_V4 AVX512_ICL AVX512_SPR"
FEATURES = {"new": ("", NEW_V4, f"{NEW_V4} X86_V3"),
            "old": ("", OLD_V4, f"{OLD_V4} AVX2 FMA3")}


# ---- a training run

def task(linear):
    """A model of two layers, grouped heads, and a text of 64 different tokens in which each follows from two
    before it, but for one in eight."""
    import numpy as np

    from minibitnet.exact import Random
    from minibitnet.nn.config import ModelConfig
    c = ModelConfig(vocab_size=64, linear=linear, d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, d_ffn=100,
                    context=40)
    rng, tokens = Random(7), [3, 5]
    surprises = rng.integers(8, 6000)
    for t in range(6000):
        follows = int((3 * tokens[-1] + tokens[-2] + 1) % 64)
        tokens.append(follows if surprises[t] else rng.integers(64))
    return c, np.array(tokens)


def run(linear, steps, threads=1):
    """-> {"parameters", "losses", "engines": sha256 of each, "loss": of the last step}"""
    from minibitnet.formats.checkpoint import parameters_sha256
    c, tokens = task(linear)
    model, losses = trained(c, tokens, steps, threads)
    parameters = {name: p.data for name, p in model.parameters().items()}
    in_hex = "\n".join(x.hex() for x in losses)
    return {"parameters": parameters_sha256(parameters),
            "losses": hashlib.sha256(in_hex.encode()).hexdigest(),
            "engines": said(model, parameters, c, tokens),
            "loss": losses[-2]}


def trained(c, tokens, steps, threads):
    """-> model, [loss, norm of the gradient, loss, norm ...]"""
    from minibitnet.nn.model import Transformer
    from minibitnet.nn.optim import AdamW
    from minibitnet.nn.training import TrainConfig, schedule, step, with_defaults
    from minibitnet.text.batches import random_batch
    from minibitnet.threads import pool_of
    train_config = with_defaults(TrainConfig(steps=STEPS, schedule="cosine"), c)
    model, losses = Transformer(c, 1), []
    optimizer, quantized = AdamW(model.parameters()), model.quantized(training=True)
    with pool_of(threads) as pool:
        for number in range(steps):
            batch = random_batch(tokens, number, seed=1, batch=5, context=c.context)
            lr, weight_decay = schedule(train_config, number)
            loss, norm, quantized = step(model, quantized, optimizer, batch, pool, lr=lr,
                                         weight_decay=weight_decay, clip=train_config.clip)
            losses += [loss, norm]
    return model, losses


def said(model, parameters, c, tokens):
    """sha256 of every engine's logits of a text, and of what it writes, greedily and at random."""
    import numpy as np

    from minibitnet.language_model import FloatEngine
    from minibitnet.formats import packed
    from minibitnet.inference.integer import IntegerModel
    from minibitnet.inference.packed_engine import PackedModel
    from minibitnet.inference.sampling import decode
    engines, sha256 = [FloatEngine(model)], hashlib.sha256()
    if c.linear != "float":
        engines += [kind(c, *packed.pack(parameters, c)) for kind in (PackedModel, IntegerModel)]
    for engine in engines:
        sha256.update(np.ascontiguousarray(engine(tokens[None, :c.context])).tobytes())
        written = [list(decode(engine, tokens[:5], 50, temperature=t, top_p=0.9, seed=2)) for t in (0, 0.8)]
        sha256.update(np.array(written, "<i8").tobytes())
    return sha256.hexdigest()


# ---- a cell of the matrix

def cell(python, kernel, disabled, threads, steps):
    """One process -> {"numpy", "kernel" that ran, variant: ``run``}, or {"refused": why}"""
    env = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    env |= {"OPENBLAS_CORETYPE": kernel} if kernel else {}
    env |= {"NPY_DISABLE_CPU_FEATURES": disabled} if disabled else {}
    env |= {"PYTHONPATH": ROOT}
    command = [python, "-W", "ignore", __file__, "work", str(steps), str(threads)]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        *_, why = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"refused": why}
    return json.loads(done.stdout)


def work(steps, threads):
    """This process's cell, as JSON."""
    import minibitnet._command  # noqa: F401  one BLAS thread, as in every command

    import numpy as np
    import threadpoolctl
    pools = threadpoolctl.threadpool_info()
    kernels = [pool.get("architecture") for pool in pools if pool["user_api"] == "blas"]
    print(json.dumps({"numpy": np.__version__, "python": sys.version.split()[0],
                      "kernel": kernels[0] if kernels else None,
                      **{variant: run(variant, steps, threads) for variant in VARIANTS}}))


# ---- all of it

def main():
    if sys.argv[1:2] == ["work"]:
        return work(*map(int, sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable],
                        help="interpreters that have NumPy and threadpoolctl")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--tiny", action="store_true", help="also python -m minibitnet.train --tiny")
    args = parser.parse_args()
    began = time.monotonic()
    results = all_cells(args.python, args.steps, args.jobs)
    ran = [r for r in results if "refused" not in r]
    found = {variant: sorted({json.dumps(r[variant]) for r in ran}) for variant in VARIANTS}
    same = all(len(values) == 1 for values in found.values())
    verdict = "one sha256 for each variant" if same else "THEY DIFFER: " + json.dumps(found, indent=1)
    print(f"{len(ran)} of {len(results)} cells ran; {verdict}")
    if args.out and same:
        write(args, results, {variant: ran[0][variant] for variant in VARIANTS}, began)
    return 0 if same else 1


def all_cells(pythons, steps, jobs):
    """-> [what a cell is, and what its process found], and a line for each"""
    cells, results = [], []
    for python in pythons:
        features = FEATURES["new" if numpy_of(python) >= (2, 4) else "old"]
        cells += [(python, *rest) for rest in itertools.product(KERNELS, features, THREADS)]
    with ThreadPoolExecutor(jobs) as pool:
        found = pool.map(lambda which: cell(*which, steps), cells)
        for (_, kernel, disabled, threads), result in zip(cells, found):
            results.append({"coretype": kernel, "disabled": disabled, "threads": threads} | result)
            what = results[-1] if "refused" in result else result["kernel"]
            sha256 = result.get("ternary", {}).get("parameters", "")
            print(len(results), "of", len(cells), what, sha256[:12], flush=True)
    return results


def numpy_of(python):
    """(2, 4) of an interpreter whose NumPy is 2.4.1"""
    version = subprocess.check_output([python, "-c", "import numpy; print(numpy.__version__)"], text=True)
    return tuple(map(int, version.split(".")[:2]))


def write(args, results, of_variants, began):
    """The record of the matrix."""
    from minibitnet.measure import results as files
    result = {"config": {"steps": args.steps, "golden_steps": GOLDEN},
              "arms": of_variants,
              "golden": {variant: run(variant, GOLDEN) for variant in VARIANTS},
              "cells": [{key: value for key, value in r.items() if key not in VARIANTS} for r in results]}
    if args.tiny:
        result["tiny"] = tiny()
    command = shlex.join(["python", "tests/exact_matrix.py", *sys.argv[1:]])
    files.save(args.out, files.envelope("exact", result, time.monotonic() - began, command))


def tiny():
    """The tiny run -> {"settings", "model_sha256", its last evaluation}"""
    from minibitnet.formats import checkpoint
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tiny"
        subprocess.run([sys.executable, "-m", "minibitnet.train", "--tiny", "--out", str(out)], check=True,
                       stdout=subprocess.DEVNULL)
        metrics = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        last = json.loads(metrics[-1])
        evaluation = {key: last[key]
                      for key in ("step", "loss", "val_loss", "val_ppl", "bits_per_byte", "floor")}
        parameters = checkpoint.load(out / "last.safetensors").parameters
        return {"settings": json.loads((out / "config.json").read_text(encoding="utf-8")),
                "model_sha256": checkpoint.parameters_sha256(parameters),
                **evaluation}


if __name__ == "__main__":
    sys.exit(main())
