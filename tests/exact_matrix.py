"""One sha256 for every processor, BLAS kernel, NumPy and number of threads:  python tests/exact_matrix.py --out data/results/exact.json

Trains a small model of each arm in a process for each cell of the matrix

    OPENBLAS_CORETYPE          unset and five kernels, old and new
    NPY_DISABLE_CPU_FEATURES   nothing, and NumPy's own vector code switched off in four steps
    NumPy                      that of each --python (environments with other versions, say)
    threads                    1, 2, 4

and compares the sha256 of the parameters, of every loss and gradient norm, and of what the engines then say. With --tiny it also makes the tiny run.
``work`` alone prints one cell's, on any machine that has the package:  python tests/exact_matrix.py work 200 2
"""
import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KERNELS = (None, "Haswell", "SkylakeX", "Zen", "Sandybridge", "Prescott")
THREADS = (1, 2, 4)
ARMS = ("ternary", "binary", "float")
STEPS, GOLDEN = 200, 30
# NumPy 2.4 has named its groups of features anew; what a version does not know it does not switch off
V4 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
FEATURES = {"new": ("", "X86_V4 AVX512_ICL AVX512_SPR", "X86_V4 AVX512_ICL AVX512_SPR X86_V3"), "old": ("", V4, V4 + " AVX2 FMA3")}


def task(linear):
    """A model of two layers, grouped heads, and a text of 64 different tokens in which each follows from two before it, but for one in eight."""
    import numpy as np

    from minibitnet.exact import Random
    from minibitnet.nn.config import ModelConfig
    c = ModelConfig(vocab_size=64, linear=linear, d_model=48, n_layers=2, n_heads=4, n_kv_heads=2, d_ffn=100, context=40)
    rng, tokens = Random(7), [3, 5]
    surprises = rng.integers(8, 6000)
    for t in range(6000):
        tokens.append(int((3 * tokens[-1] + tokens[-2] + 1) % 64) if surprises[t] else rng.integers(64))
    return c, np.array(tokens)


def run(linear, steps, threads=1):
    """-> {"parameters", "losses", "engines": sha256 of each, "loss": of the last step}"""
    import numpy as np

    from minibitnet.api import FloatEngine
    from minibitnet.formats import packed
    from minibitnet.formats.checkpoint import parameters_sha256
    from minibitnet.inference.integer import IntegerModel
    from minibitnet.inference.packed import PackedModel
    from minibitnet.inference.sampling import decode
    from minibitnet.nn.model import Transformer
    from minibitnet.nn.optim import AdamW, clip_global_norm
    from minibitnet.nn.training import TrainConfig, loss_and_gradients, schedule, with_defaults
    from minibitnet.text.batches import random_batch
    from minibitnet.threads import pool_of
    c, tokens = task(linear)
    train_config = with_defaults(TrainConfig(steps=STEPS, schedule="cosine"), c)
    model, losses = Transformer(c, 1), []
    optimizer = AdamW(model.parameters())
    with pool_of(threads) as pool:
        for step in range(steps):
            ids, targets = random_batch(tokens, step, seed=1, batch=5, context=c.context)
            loss, grads = loss_and_gradients(model.quantized(training=True), ids, targets, pool)
            losses += [loss, clip_global_norm(grads, 1.0)]
            optimizer.step(grads, *schedule(train_config, step))
    parameters, said = {name: p.data for name, p in model.parameters().items()}, hashlib.sha256()
    engines = [FloatEngine(model)]
    if linear != "float":
        engines += [kind(c, *packed.pack(parameters, c)) for kind in (PackedModel, IntegerModel)]
    for engine in engines:
        said.update(np.ascontiguousarray(engine(tokens[None, :c.context])).tobytes())
        said.update(np.array([list(decode(engine, tokens[:5], 50, temperature=t, top_p=0.9, seed=2)) for t in (0, 0.8)], "<i8").tobytes())
    return {"parameters": parameters_sha256(parameters), "losses": hashlib.sha256("\n".join(x.hex() for x in losses).encode()).hexdigest(),
            "engines": said.hexdigest(), "loss": losses[-2]}


def cell(python, kernel, disabled, threads, steps):
    """One process -> {"numpy", "kernel" that ran, arm: ``run``}, or {"refused": why}"""
    env = {name: value for name, value in os.environ.items() if name not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "NPY_DISABLE_CPU_FEATURES")}
    env |= {"OPENBLAS_CORETYPE": kernel} if kernel else {}
    env |= {"NPY_DISABLE_CPU_FEATURES": disabled} if disabled else {}
    root = str(Path(__file__).resolve().parents[1])
    done = subprocess.run([python, "-W", "ignore", __file__, "work", str(steps), str(threads)], env=env | {"PYTHONPATH": root}, capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else {"refused": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}


def work(steps, threads):
    """This process's cell, as JSON."""
    import minibitnet._command  # noqa: F401  one BLAS thread, as in every command

    import numpy as np
    import threadpoolctl
    kernel = [pool.get("architecture") for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    print(json.dumps({"numpy": np.__version__, "python": sys.version.split()[0], "kernel": kernel[0] if kernel else None,
                      **{arm: run(arm, steps, threads) for arm in ARMS}}))


def main():
    if sys.argv[1:2] == ["work"]:
        return work(*map(int, sys.argv[2:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters that have NumPy and threadpoolctl")
    parser.add_argument("--out", type=Path, help="where the result goes, as JSON")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--tiny", action="store_true", help="also python -m minibitnet.train --tiny")
    args = parser.parse_args()
    began, cells = time.monotonic(), []
    for python in args.python:
        new = tuple(map(int, subprocess.check_output([python, "-c", "import numpy; print(numpy.__version__)"], text=True).split(".")[:2])) >= (2, 4)
        cells += [(python, *rest) for rest in itertools.product(KERNELS, FEATURES["new" if new else "old"], THREADS)]
    with ThreadPoolExecutor(args.jobs) as pool:
        results = []
        for which, result in zip(cells, pool.map(lambda which: cell(*which, args.steps), cells)):
            results.append({"coretype": which[1], "disabled": which[2], "threads": which[3]} | result)
            print(len(results), "of", len(cells), results[-1] if "refused" in result else result["kernel"], result.get("ternary", {}).get("parameters", "")[:12], flush=True)
    ran = [r for r in results if "refused" not in r]
    found = {arm: sorted({json.dumps(r[arm]) for r in ran}) for arm in ARMS}
    same = all(len(values) == 1 for values in found.values())
    print(f"{len(ran)} of {len(results)} cells ran; " + ("one sha256 for each arm" if same else "THEY DIFFER: " + json.dumps(found, indent=1)))
    if args.out and same:
        from minibitnet.measure import results as files
        golden = {arm: run(arm, GOLDEN) for arm in ARMS}
        result = {"config": {"steps": args.steps, "golden_steps": GOLDEN}, "arms": {arm: ran[0][arm] for arm in ARMS}, "golden": golden,
                  "cells": [{key: value for key, value in r.items() if key not in ARMS} for r in results]} | ({"tiny": tiny()} if args.tiny else {})
        record = files.envelope("exact", result, time.monotonic() - began) | {"command": "python tests/exact_matrix.py" + " --python OLD NEW" * (len(args.python) == 2) + " --tiny" * args.tiny}
        files.save(args.out, record)
    return 0 if same else 1


def tiny():
    """The tiny run -> {"settings", "model_sha256", its last evaluation}"""
    from minibitnet.formats import checkpoint
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "tiny"
        subprocess.run([sys.executable, "-m", "minibitnet.train", "--tiny", "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
        last = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()][-1]
        return {"settings": json.loads((out / "config.json").read_text(encoding="utf-8")),
                "model_sha256": checkpoint.parameters_sha256(checkpoint.load(out / "last.safetensors").parameters),
                **{key: last[key] for key in ("step", "loss", "val_loss", "val_ppl", "bits_per_byte", "floor")}}


if __name__ == "__main__":
    sys.exit(main())
