"""Files of every reader with bytes changed, cut and put in: each is read, or is refused in one line, soon and
in little memory.

    python tests/interop/mutations.py --count 5000 --out data/results/mutations.json
"""
import argparse
import random
import shlex
import struct
import sys
import tempfile
import time
import tracemalloc
import warnings
from pathlib import Path

from test_huggingface import IDS, TOKENIZER, in_shards, model_of

import minibitnet
from minibitnet.errors import NonFiniteError, UserError
from minibitnet.interop.examination import examine
from minibitnet.measure import results
from minibitnet.text import bpe_files
from minibitnet.text.tokenizer import load_tokenizer

MORE = 32 * 2**20         # bytes beyond twice the file that reading one may take: Python's and NumPy's
SECONDS = 60              # of the processor; what takes longer hangs
BYTES = b'0129{}[],:"-.eE \xff\x00\x80'
WIDE = {"d_model": 256, "d_ffn": 256, "n_layers": 1}


def run(path):
    """Read it and run it."""
    return minibitnet.from_pretrained(path).logits(IDS[:3])


def look(path):
    """Inspect it: what is wrong is said; a place where no model is, is refused."""
    return examine(path, run=False)


def encode(path):
    """Read a tokenizer and use it."""
    return load_tokenizer(path).encode("the sea shells")


def packed(path):
    """Load a run on the packed engine and run it."""
    return minibitnet.load(path, "packed").logits(IDS[:3])


def a_run(folder):
    return model_of(n_layers=1).save(folder / "m")


def directory(folder, **options):
    return model_of(n_layers=1).save_pretrained(folder / "m", **options)


def sharded(folder):
    in_shards(directory(folder))
    return folder / "m"


def alone(folder, **options):
    """The weights without what is beside them."""
    return (directory(folder, **options) / "model.safetensors").rename(folder / "w.safetensors")


def in_gguf(kind):
    return lambda folder: model_of(**WIDE).save_gguf(folder / "m.gguf", kind)


def ranks(folder):
    bpe_files.write_ranks(folder / "v.tiktoken", TOKENIZER.vocabulary.ranks)
    return folder / "v.tiktoken"


READERS = {                                      # {name: (what makes its files in a folder, what reads them)}
    "directory": (directory, run),
    "directory of shards": (sharded, run),
    "directory of masters": (lambda folder: directory(folder, packed=False), run),
    "directory of LLaMA": (lambda folder: model_of(n_layers=1, linear="float").save_pretrained(folder / "m"),
                           run),
    "packed run": (a_run, packed),
    "GGUF, TQ2_0": (in_gguf("tq2"), run),
    "GGUF, TQ1_0": (in_gguf("tq1"), run),
    "GGUF, Q2_0": (in_gguf("q2"), run),
    "GGUF, I2_S": (in_gguf("i2s"), run),
    "tokenizer.json": (lambda folder: directory(folder) / "tokenizer.json", encode),
    "rank file": (ranks, encode),
    "inspect a run": (a_run, look),
    "inspect a directory": (directory, look),
    "inspect a directory of masters": (lambda folder: directory(folder, packed=False), look),
    "inspect a GGUF file": (in_gguf("q2"), look),
    "inspect a file": (alone, look),
    "inspect a file of masters": (lambda folder: alone(folder, packed=False), look),
}


def mutate(data, rng):
    """Bytes, changed in one to three places, most of them near the beginning, where the headers are."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        if not data:
            break
        i = rng.randrange(min(len(data), rng.choice([40, 200, 4000, 10**7])))
        change = rng.random()
        if change < 0.1:
            data = data[:rng.randrange(len(data))]
        elif change < 0.4:
            data[i] ^= 1 << rng.randrange(8)
        elif change < 0.6:                       # a length, a size or an offset
            data[i:i + 8] = struct.pack("<Q", rng.choice([0, 1, 2**20, 2**31, 2**40, 2**63, 2**64 - 1]))
        else:
            data[i:i + rng.choice([0, 1, 1, 9])] = bytes(rng.choice(BYTES)
                                                         for _ in range(rng.choice([0, 1, 1, 3])))
    return bytes(data)


def tried(name, count, seed=0):
    """So many mutated files of a reader -> (how many worked, the longest seconds, most bytes beyond twice the
    file). AssertionError for another error than one line, or beyond the bounds."""
    make, read = READERS[name]
    rng, works, longest, most = random.Random(f"{name} {seed}"), 0, 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        place = make(Path(folder))
        before = {path: path.read_bytes() for path in ([place] if place.is_file() else place.iterdir())}
        for k in range(count):
            path = rng.choice(sorted(before))
            path.write_bytes(mutate(before[path], rng))
            began = time.process_time()
            tracemalloc.start()
            try:
                with warnings.catch_warnings(action="error"):            # a warning is a second line
                    read(place)
                works += 1
            except (UserError, NonFiniteError) as e:
                assert "\n" not in str(e) and len(str(e)) < 2000, (name, k, e)
            except Exception as e:
                raise AssertionError(f"{name}, mutation {k} of {path.name}: {type(e).__name__}: {e}") from e
            beyond = tracemalloc.get_traced_memory()[1] - 2 * sum(map(len, before.values()))
            tracemalloc.stop()
            longest, most = max(longest, time.process_time() - began), max(most, beyond)
            path.write_bytes(before[path])
    assert most < MORE, f"{name}: {most:,} bytes beyond twice the file"
    assert longest < SECONDS, f"{name}: {longest:.0f} s"
    return works, longest, max(0, most)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--reader", choices=READERS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    began, found = time.monotonic(), {}
    for name in [args.reader] if args.reader else READERS:
        works, longest, most = tried(name, args.count, args.seed)
        found[name] = {"answered": works, "seconds": round(longest, 3), "bytes_beyond": most}
        print(f"{name}: {args.count:,} mutations, {works:,} of them answered; the longest took {longest:.2f} "
              f"s, {most / 2**20:.1f} MiB beyond twice the file at most", flush=True)
    if args.out:
        result = {"config": {"count": args.count, "seed": args.seed}, "readers": found}
        command = shlex.join(["python", "tests/interop/mutations.py", *sys.argv[1:]])
        results.save(args.out, results.envelope("mutations", result, time.monotonic() - began, command))


if __name__ == "__main__":
    sys.exit(main())
