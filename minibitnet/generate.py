"""Let a trained model write:  python -m minibitnet.generate --model runs/tiny --prompt "The " """
from . import _command  # first: from here on Ctrl-C is heard

import time

from .api import load
from .language_model import ENGINES
from .pretrained import from_pretrained, is_pretrained


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("generate", "Continue a text with a trained model, token by token, with a "
                                         "key-value cache. The model is a run, a directory of Hugging Face "
                                         "or a GGUF file; packed weights need --engine packed or integer.")
    _command.add_model_flags(parser, ENGINES)
    parser.add_argument("--prompt", required=True, metavar="TEXT",
                        help="the beginning; only its last CONTEXT tokens are read")
    parser.add_argument("--tokens", type=_command.positive_int, default=300, metavar="N",
                        help="at most how many to write (%(default)s)")
    parser.add_argument("--temperature", type=float, default=0.8, metavar="T",
                        help="0: always the likeliest token (%(default)s)")
    parser.add_argument("--top-k", type=int, default=0, metavar="K",
                        help="choose among the K likeliest; 0: among all (%(default)s)")
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P",
                        help="... among the likeliest that reach probability P (%(default)s)")
    parser.add_argument("--stop", default="", metavar="TEXT",
                        help="end before this text (a model of documents ends with its document in any case)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the choices (%(default)s)")
    parser.add_argument("--kv-bits", type=int, choices=(32, 16, 8, 4), default=32,
                        help="of the packed engine's key-value cache (%(default)s)")
    _command.add_threads(parser, "for the packed engine")
    args = parser.parse_args(argv)
    if is_pretrained(args.model):
        if args.checkpoint != "last":
            parser.error(f"--checkpoint {args.checkpoint}: expected none, {args.model} is no run")
        model = from_pretrained(args.model, args.engine, threads=args.threads, kv_bits=args.kv_bits)
    else:
        model = load(args.model, args.engine, args.checkpoint,
                     warn=lambda note: _command.say(f"note: {note}"), threads=args.threads,
                     kv_bits=args.kv_bits)
    pieces = model.stream(args.prompt, args.tokens, temperature=args.temperature, top_k=args.top_k,
                          top_p=args.top_p, seed=args.seed, stop=args.stop)
    first = next(pieces, "")         # before anything is printed: it checks the settings and reads the prompt
    print(args.prompt + first, end="", flush=True)
    times = [time.perf_counter()]
    for piece in pieces:
        times.append(time.perf_counter())
        print(piece, end="", flush=True)
    print()
    if len(times) > 1:
        _command.say(f"{(len(times) - 1) / (times[-1] - times[0]):,.0f} tokens/s")
    return _command.DONE


if __name__ == "__main__":
    _command.run(main)
