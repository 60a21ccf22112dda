"""``inspect`` on planted faults, each in a trained model of 2 million parameters and in a random one of the
size of BitNet b1.58 2B4T, and on sound models:

    python tests/interop/with_faults.py --folder runs/inspect --out data/results/inspect.json

What is not in the folder yet is made first, in a few minutes; the folder then takes 1.3 GB.
"""
import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from planted import HEARD, SHOWN, planted

import minibitnet
from minibitnet.interop import source
from minibitnet.interop.examination import examine
from minibitnet.measure import results

TRAINED = dict(data="stories", tokenizer="bpe:512", d_model=256, n_layers=3, n_heads=4, n_kv_heads=2,
               d_ffn=512, activation="relu2", tied=True, context=128, batch=8, steps=400, threads=2)


def made(folder):
    """The models -> (the trained one's directory, the random one's, {form: a sound model})."""
    run, random = folder / "run", folder / "random"
    if not run.exists():
        fitted = minibitnet.fit(TRAINED["data"], **{k: v for k, v in TRAINED.items() if k != "data"})
        fitted.model.save(run)
        fitted.model.save_pretrained(folder / "masters", packed=False)
    if not random.exists():
        source.write(source.random("2b4t"), random, "hf", "bfloat16")
    sound = {"run": run, "its last.safetensors": run / "last.safetensors",
             "its packed.safetensors": run / "packed.safetensors", "masters": folder / "masters"}
    for to in source.TARGETS:
        path = folder / (f"{to}.gguf" if to.startswith("gguf") else to)
        if not path.exists():
            source.write(source.read(run), path, to, "bfloat16")
        sound[to] = path
    return folder / "hf", random, sound | {"storyteller": "storyteller"}


def named(folder, faults, **options):
    """{what was planted: {"expected", "named": was it, "faults": all that were, "seconds"}}"""
    found = {}
    for name, (fault, plant) in faults.items():
        began = time.monotonic()
        with planted(folder, plant):
            said = list(dict.fromkeys(f.fault for f in examine(folder, **options).findings))
        found[name] = {"expected": fault, "named": fault in said, "faults": said,
                       "seconds": round(time.monotonic() - began, 1)}
        print(f"{folder}: {name}: {', '.join(said)}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began = time.monotonic()
    trained, random, sound = made(args.folder)
    config = {"trained": TRAINED, "random": "2b4t"}
    result = {"config": config, "trained": named(trained, SHOWN | HEARD)}
    published = {"another activation": ("not as published", HEARD["another activation"][1])}
    result["random"] = named(random, SHOWN | published, run=False)
    result["sound"] = {}
    for form, path in sound.items():
        found = examine(path)
        result["sound"][form] = {"sound": found.sound, "loss": found.heard.loss,
                                 "unigram": found.heard.unigram}
        print(f"{path}: {'sound' if found.sound else found.findings}", flush=True)
    start = time.monotonic()
    noise = examine(random, threads=2)
    result["noise"] = {"faults": [f.fault for f in noise.findings], "loss": noise.heard.loss,
                       "unigram": noise.heard.unigram, "readings": noise.heard.readings,
                       "seconds": round(time.monotonic() - start, 1)}
    result["parameters"] = {"trained": examine(trained, run=False).c.n_parameters,
                            "random": noise.c.n_parameters}
    missed = [name for which in ("trained", "random") for name, r in result[which].items() if not r["named"]]
    wrong = [form for form, r in result["sound"].items() if not r["sound"]]
    command = shlex.join(["python", "tests/interop/with_faults.py", *sys.argv[1:]])
    if args.out:
        results.save(args.out, results.envelope("inspect", result, time.monotonic() - began, command))
    print(json.dumps({"missed": missed, "called unsound": wrong}))
    sys.exit(bool(missed or wrong))


if __name__ == "__main__":
    main()
