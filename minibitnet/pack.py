"""Pack a trained model into two bits a weight:  python -m minibitnet.pack --model runs/tiny"""
from . import _command  # first: from here on Ctrl-C is heard

import json

from .api import latest, model_of, run_at
from .errors import UserError
from .measure.costs import memory
from .formats import packed

DESCRIPTION = """Write packed.safetensors: the weights of every BitLinear in two bits, with one scale a
matrix; embedding, head and norms as they are, or in 16 bits. --engine packed and --engine integer run from
this file alone (with tokenizer.json beside it).

Training does this at its end with the defaults, so that this command is for other choices, and for the
table of bytes."""


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("pack", DESCRIPTION)
    _command.add_model_flags(parser)
    parser.add_argument("--dtype", choices=tuple(packed.FLOATS), default="float32",
                        help="of what is not packed (%(default)s, with which the packed engine gives the "
                             "float engine's very logits)")
    parser.add_argument("--float16", action="store_true",
                        help="also write float16.safetensors, every weight in 16 bits: the size of the "
                             "papers' baseline (no engine runs it)")
    parser.add_argument("--json", action="store_true", help="print the table as one JSON object")
    args = parser.parse_args(argv)

    run = run_at(args.model)
    saved, path = latest(run, args.checkpoint, warn=lambda note: _command.say(f"note: {note}"))
    model = model_of(saved, path)
    parameters = {name: p.data for name, p in model.parameters().items()}
    if not model.config.variant.has_codes:
        raise UserError(f"{path}: linear = {model.config.linear!r}: expected ternary or binary, whose "
                        "weights are codes; a float model has none to pack")
    try:
        packed.save(run.packed, saved.config, saved.step, *packed.pack(parameters, model.config), args.dtype)
        files = [run.packed]
        if args.float16:
            files.append(run.path / "float16.safetensors")
            packed.save_dense(files[-1], saved.config, parameters)
    except ValueError as e:                      # a value that float16 does not hold
        raise UserError(f"{path}: {e}") from None
    table = memory(model.config, packed.FLOATS[args.dtype].itemsize)
    sizes = {file.name: file.stat().st_size for file in files}
    if args.json:
        components = {name: dict(zip(("numbers", "packed", "float16", "float32"), row))
                      for name, row in table.items()}
        print(json.dumps({"components": components, "files": sizes}))
    else:
        print("\n".join(in_words(table)))
        print(*(f"{name}: {size:,} bytes" for name, size in sizes.items()), sep="\n")
    return _command.DONE


def in_words(table):
    """The lines of a table of bytes."""
    yield f"{'bytes of':20}{'numbers':>14}{'packed':>14}{'float16':>14}{'float32':>14}"
    for name, row in table.items():
        yield f"{name:20}" + "".join(f"{n:>14,}" for n in row)
    numbers, bytes, _, _ = table["BitLinear weights"]
    total, rest = table["total"], table["total"][1] - bytes
    yield (f"{8 * bytes / numbers:.2f} bits for each of a BitLinear's weights; all the rest takes "
           f"{rest / total[1]:.0%} of the packed model's bytes")
    yield (f"the packed model takes {total[1] / total[2]:.2f} of the bytes of float16, "
           f"{total[1] / total[3]:.2f} of those of float32")


if __name__ == "__main__":
    _command.run(main)
