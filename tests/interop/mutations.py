"""Files of every reader with bytes changed, cut and put in: each is read, or is refused in one line, soon and
in little memory.

    python tests/interop/mutations.py --count 5000
"""
import argparse
import random
import struct
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from test_huggingface import IDS, model_of

import minibitnet
from minibitnet.errors import NonFiniteError, UserError
from minibitnet.interop.examination import examine
from minibitnet.text.tokenizer import load_tokenizer

MORE = 32 * 2**20         # bytes beyond twice the file that reading one may take
BYTES = b'0129{}[],:"-.eE \xff\x00\x80'
WIDE = {"d_model": 256, "d_ffn": 256, "n_layers": 1}


def run(path):
    """Read it and run it."""
    return minibitnet.from_pretrained(path).logits(IDS[:3])


def look(path):
    """Inspect it: what is wrong is said, and nothing raised."""
    return examine(path, run=False)


def alone(folder):
    """The weights without what is beside them."""
    return (folder / "model.safetensors").rename(folder.with_name("w.safetensors"))


READERS = {
    "directory": (lambda folder: model_of(n_layers=1).save_pretrained(folder / "m"), run),
    "masters": (lambda folder: model_of(n_layers=1).save_pretrained(folder / "m", packed=False), run),
    "GGUF": (lambda folder: model_of(**WIDE).save_gguf(folder / "m.gguf"), run),
    "inspect a directory": (lambda folder: model_of(n_layers=1).save_pretrained(folder / "m"), look),
    "inspect a GGUF file": (lambda folder: model_of(**WIDE).save_gguf(folder / "m.gguf", "q2"), look),
    "inspect a file": (lambda folder: alone(model_of(n_layers=1).save_pretrained(folder / "m")), look),
    "tokenizer.json": (lambda folder: model_of().save_pretrained(folder / "m") / "tokenizer.json",
                       lambda path: load_tokenizer(path).encode("the sea shells")),
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
            began = time.monotonic()
            tracemalloc.start()
            try:
                read(place)
                works += 1
            except (UserError, NonFiniteError) as e:
                assert "\n" not in str(e) and len(str(e)) < 2000, (name, k, e)
            except Exception as e:
                raise AssertionError(f"{name}, mutation {k} of {path.name}: {type(e).__name__}: {e}") from e
            beyond = tracemalloc.get_traced_memory()[1] - 2 * sum(map(len, before.values()))
            tracemalloc.stop()
            longest, most = max(longest, time.monotonic() - began), max(most, beyond)
            path.write_bytes(before[path])
    assert most < MORE, f"{name}: {most:,} bytes beyond twice the file"
    return works, longest, most


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--reader", choices=READERS)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in [args.reader] if args.reader else READERS:
        works, longest, most = tried(name, args.count, args.seed)
        print(f"{name}: {args.count:,} mutations, {works:,} of them answered; the longest took {longest:.2f} "
              f"s, {max(0, most) / 2**20:.1f} MiB beyond twice the file at most", flush=True)


if __name__ == "__main__":
    sys.exit(main())
