"""Score a trained model on text:  python -m minibitnet.evaluate --model runs/tiny"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tqdm import tqdm

from .api import load
from .errors import UserError
from .nn.training import mean_loss
from .text.batches import part_of, parts
from .text.corpora import load_corpus
from .text.streams import token_stream

DESCRIPTION = """Loss, perplexity and bits per byte of a trained model, each token of the text scored once, in non-overlapping windows
of the model's context. On the corpus that the model was trained on this is the validation split, elsewhere all of the text."""


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("evaluate", DESCRIPTION)
    parser.add_argument("--model", required=True, metavar="DIR", help="the directory of a run")
    parser.add_argument("--data", metavar="PATH", help="a UTF-8 text file or pydoc (the run's own corpus)")
    parser.add_argument("--split", choices=("validation", "train", "all"), help="which part of the text (see above)")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="the newest or the one with the lowest validation loss (%(default)s)")
    parser.add_argument("--engine", choices=("float",), default="float", help="%(default)s: whole-number products in float32")
    parser.add_argument("--threads", type=_command.positive_int, default=_command.available_cpus(), metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)

    model = load(args.model, args.checkpoint, warn=lambda note: _command.say(f"note: {note}"))
    trained_on = model.settings["corpus"]
    corpus = load_corpus(args.data or model.settings["train"]["data"])
    own = corpus.sha256 == trained_on["sha256"]
    if not own and not args.data:
        raise UserError(f"corpus {trained_on['name']!r} is not the text that the model was trained on (its sha256 differs); name a text with --data")
    part = args.split or ("validation" if own else "all")
    stream = token_stream(corpus, model.tokenizer)
    if len(stream.tokens) < 2:
        raise UserError(f"corpus {corpus.name!r} has {len(stream.tokens)} tokens: expected at least 2, one to predict the next from")
    if part == "all":
        scored = part_of(stream, model.config.context)
    else:
        scored = parts(stream, model.config.context, model.settings["train"]["val_fraction"])[part == "validation"]

    batches = math.ceil((scored.n_targets / model.config.context if scored.windows is None else len(scored.windows.starts)) / 16)
    progress = partial(tqdm, total=batches, unit="batch", leave=False) if sys.stderr.isatty() else iter
    with ThreadPoolExecutor(args.threads) as pool:
        loss = mean_loss(model.running, scored, pool, batch=16, progress=progress)
    floor = scored.floor(model.tokenizer)
    result = {"loss": loss, "ppl": math.exp(min(loss, 700)), "tokens": scored.n_targets, "floor": floor, "engine": args.engine, "split": part,
              "bits_per_byte": loss * scored.n_targets / math.log(2) / model.tokenizer.count_bytes(scored.stream.tokens[1:]),
              "documents": scored.n_documents,
              "data": corpus.name, "replaced": corpus.replaced, "checkpoint": args.checkpoint}
    if args.json:
        print(json.dumps(result))
    else:
        print(f"{corpus.name}, {part}: loss {loss:.4f} nats/token, perplexity {result['ppl']:.3f}, {result['bits_per_byte']:.4f} bits per "
              f"byte over {scored.n_targets:,} tokens ({args.engine} engine, {args.checkpoint} checkpoint)")
        if floor is not None:
            print(f"the floor of this text is perplexity {math.exp(floor):.3f}: {math.exp(loss - floor):.3f} times it, "
                  f"{(loss - floor) * scored.n_targets / scored.n_documents:.2f} nats too many for a document")
        if corpus.replaced:
            print(f"{corpus.replaced:,} places were not UTF-8 and were read as U+FFFD")
    return _command.DONE


if __name__ == "__main__":
    _command.run(main)
