"""A model from one format to another:  python -m minibitnet.convert runs/tiny model.gguf --to gguf-tq2"""
from . import _command  # first: from here on Ctrl-C is heard

from pathlib import Path

from .errors import UserError
from .formats.packed import FLOATS, is_bitlinear
from .interop import source
from .interop.gguf_model import KINDS
from .measure.random_models import SHAPES

DESCRIPTION = f"""Write a model in another format, read it back, and compare: every weight and every scale.

IN is a run, a directory of Hugging Face, a name that its hub knows (microsoft/bitnet-b1.58-2B-4T), or a GGUF
file. --to says what OUT is:

    hf          a directory that transformers loads, ternary weights in two bits
    gguf-KIND   a GGUF file of llama.cpp, KIND one of {', '.join(KINDS)} (i2s: bitnet.cpp's alone)
    packed      a directory that the packed and the integer engine run

What is not packed (embedding, head, gains; of GGUF the gains have 32 bits) is kept in --dtype, or else in
what the embedding of IN is kept in.

    python -m minibitnet.convert --random 2b4t DIR

makes a directory of Hugging Face without a model to convert: random ternary weights, with the names, types
and sizes of BitNet b1.58 2B4T (or of another shape that the benchmarks know). To measure with: what it writes
is noise."""


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("convert", DESCRIPTION)
    parser.add_argument("paths", metavar="IN OUT", nargs="+", type=_command.named,
                        help="the model, and where it goes: a directory, or a file")
    parser.add_argument("--to", choices=source.TARGETS, help="the format of OUT")
    parser.add_argument("--dtype", choices=tuple(FLOATS), help="of what is not packed")
    parser.add_argument("--random", choices=tuple(SHAPES), metavar="MODEL",
                        help="instead of IN: random weights in the shape of tiny, 15m or 2b4t")
    args = parser.parse_args(argv)
    if len(args.paths) != (1 if args.random else 2):
        parser.error("expected IN and OUT, or --random and OUT")
    if not (args.to or args.random):
        parser.error(f"expected --to and one of {', '.join(source.TARGETS)}")
    out, to = Path(args.paths[-1]), args.to or "hf"
    if not to.startswith("gguf") and out.suffix in (".gguf", ".safetensors"):
        raise UserError(f"{out}: --to {to} makes a directory: expected a name for one")
    if out.exists():
        raise UserError(f"{out} is there already: expected a new name")
    with _command.bar(unit="matrix", desc="reading") as bar:
        model = (source.random(args.random) if args.random else
                 source.read(args.paths[0], report=lambda name: bar.update()))
        source.write(model, out, to, args.dtype or dtype_of(model))
    return report(model, out)


def report(model, out):
    """Read what was written, compare, and say what went where -> exit code."""
    again = source.read(out)
    lines = list(source.compare(model, again))
    for kind, n, numbers, how, verdict in lines:
        print(f"{n:>6,} {kind:<12} {numbers:>15,} weights  {how:<9} read back: {verdict}")
    size = sum(p.stat().st_size for p in ([out] if out.is_file() else out.iterdir()))
    print(f"{out}: {size:,} bytes")
    if any(verdict == "DIFFERENT" for *_, verdict in lines):
        raise UserError(f"{out} does not hold what was read: is the disk sound?")
    return _command.DONE


def dtype_of(model):
    """What the embedding is stored in."""
    found = model.arrays["embed_tokens.weight"].dtype
    assert not any(map(is_bitlinear, model.matrices.keys() & model.arrays.keys()))
    return next(name for name, dtype in FLOATS.items() if dtype == found)


if __name__ == "__main__":
    _command.run(main)
