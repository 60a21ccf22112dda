"""A model from one format to another:  python -m minibitnet.convert runs/tiny model.gguf --to gguf-tq2"""
from . import _command  # first: from here on Ctrl-C is heard

from pathlib import Path

from .errors import UserError
from .formats.packed import FLOATS, is_bitlinear
from .interop import source
from .interop.gguf_model import KINDS

DESCRIPTION = f"""Write a model in another format, read it back, and compare: every weight and every scale.

IN is a run, a directory of Hugging Face, a name that its hub knows (microsoft/bitnet-b1.58-2B-4T), or a GGUF
file. --to says what OUT is:

    hf          a directory that transformers loads, ternary weights in two bits
    gguf-KIND   a GGUF file of llama.cpp, KIND one of {', '.join(KINDS)} (i2s: bitnet.cpp's alone)
    packed      a directory that the packed and the integer engine run

What is not packed (embedding, head, gains) is kept in --dtype, or as it is in IN."""


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("convert", DESCRIPTION)
    parser.add_argument("model", metavar="IN", type=_command.named, help="the model")
    parser.add_argument("out", metavar="OUT", type=Path, help="where it goes: a directory, or a file")
    parser.add_argument("--to", required=True, choices=source.TARGETS, help="the format")
    parser.add_argument("--dtype", choices=tuple(FLOATS), help="of what is not packed")
    args = parser.parse_args(argv)
    if args.out.exists():
        raise UserError(f"{args.out} is there already: expected a new name")
    with _command.bar(unit="matrix", desc="reading") as bar:
        model = source.read(args.model, report=lambda name: bar.update())
        dtype = args.dtype or dtype_of(model)
        source.write(model, args.out, args.to, dtype)
    again = source.read(args.out)
    lines = list(source.compare(model, again))
    for kind, n, numbers, how, verdict in lines:
        print(f"{n:>6,} {kind:<12} {numbers:>15,} weights  {how:<9} read back: {verdict}")
    size = sum(p.stat().st_size for p in ([args.out] if args.out.is_file() else args.out.iterdir()))
    print(f"{args.out}: {size:,} bytes")
    if any(verdict == "DIFFERENT" for *_, verdict in lines):
        raise UserError(f"{args.out} does not hold what was read: is the disk sound?")
    return _command.DONE


def dtype_of(model):
    """What the embedding is stored in."""
    found = model.arrays["embed_tokens.weight"].dtype
    assert not any(map(is_bitlinear, model.matrices.keys() & model.arrays.keys()))
    return next(name for name, dtype in FLOATS.items() if dtype == found)


if __name__ == "__main__":
    _command.run(main)
