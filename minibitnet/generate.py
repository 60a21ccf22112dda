"""Let a trained model write:  python -m minibitnet.generate --model runs/tiny --prompt "The " """
from . import _command  # first: from here on Ctrl-C is heard

import shlex
import sys
import time

from .language_model import ENGINES
from .pretrained import open_model
from .writing import TooLong


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("generate", "Continue a text with a trained model, token by token, with a "
                                         "key-value cache. The model is a run, a directory of Hugging Face "
                                         "or a GGUF file.")
    _command.add_model_flags(parser, ENGINES)
    parser.add_argument("--prompt", metavar="TEXT",
                        help="the beginning; only its last CONTEXT tokens are read")
    parser.add_argument("--chat", action="store_true",
                        help="answer --prompt, or without one line after line of the input, as a model does "
                             "that was trained on conversations (BitNet b1.58 2B4T)")
    parser.add_argument("--system", default="", metavar="TEXT", help="what --chat is told beforehand")
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
    if args.prompt is None and not args.chat:
        parser.error("expected --prompt TEXT, or --chat")
    if args.stop and args.chat:
        parser.error(f"--stop {shlex.quote(args.stop)}: an answer ends by itself: expected --tokens, or none")
    if args.system and not args.chat:
        parser.error(f"--system {shlex.quote(args.system)}: expected --chat, which it is for")
    model = open_model(args.model, args.engine, args.checkpoint, threads=args.threads, kv_bits=args.kv_bits,
                       warn=lambda note: _command.say(f"note: {note}"))
    settings = dict(tokens=args.tokens, temperature=args.temperature, top_k=args.top_k, top_p=args.top_p,
                    seed=args.seed)
    if not args.chat:
        show(model.stream(args.prompt, **settings, stop=args.stop), args.prompt)
        return _command.DONE
    chat = model.chat(args.system)
    if args.prompt is not None:
        show(chat.say(args.prompt, **settings))
        return _command.DONE
    for message in messages():
        try:
            show(chat.say(message, **settings))
        except TooLong as e:                     # the conversation goes on
            _command.say(f"error: {e}")
    return _command.DONE


def show(pieces, prompt=""):
    """Print a text while it is written, and how fast that was."""
    first = next(pieces, "")         # before anything is printed: it checks the settings and reads the prompt
    print(prompt + first, end="", flush=True)
    times = [time.perf_counter()]
    for piece in pieces:
        times.append(time.perf_counter())
        print(piece, end="", flush=True)
    print()
    if len(times) > 1:
        _command.say(f"{(len(times) - 1) / (times[-1] - times[0]):,.1f} tokens/s")


def messages():
    """The lines of the input that are not blank; on a terminal, each behind a sign."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        if not (line := sys.stdin.readline()):
            return
        if line.strip():
            yield line


if __name__ == "__main__":
    _command.run(main)
