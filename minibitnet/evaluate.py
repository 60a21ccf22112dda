"""Score a trained model on text:  python -m minibitnet.evaluate --model runs/tiny"""
from . import _command  # first: it sets the thread count that NumPy reads when it loads

import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from tqdm import tqdm

from .api import load
from .errors import UserError
from .nn import ops
from .nn.training import mean_loss
from .text.batches import split
from .text.corpora import load_corpus

DESCRIPTION = """Loss, perplexity and bits per byte of a trained model, each token of the text scored once, in non-overlapping windows
of the model's context. On the corpus that the model was trained on this is the validation split, elsewhere all of the text."""


def agreement(reference, other, windows, margin=0.1):
    """Two engines on the same text -> {loss_difference, agreement, agreement_clear, clear}.

    loss_difference is other's mean loss minus the reference's; agreement the share of positions where their likeliest tokens are
    the same; agreement_clear that share among the clear positions, where the reference's two best logits differ by more than
    margin; clear the share of those.

    reference, other: functions of ids (B, T) -> float logits (V, B, T); windows: (ids, targets) pairs, as of ``all_windows``.
    """
    difference, counts = 0.0, np.zeros(4)                # all positions, the same, clear, both
    for ids, targets in windows:
        a, b = reference(ids), other(ids)
        difference += float(ops.cross_entropy.forward(b, targets) - ops.cross_entropy.forward(a, targets)) * ids.size
        second, best = np.partition(a, -2, axis=0)[-2:]
        same, clear = a.argmax(0) == b.argmax(0), best - second > margin
        counts += ids.size, same.sum(), clear.sum(), (same & clear).sum()
    total, same, clear, both = counts.tolist()
    return {"loss_difference": difference / total, "agreement": same / total, "agreement_clear": both / max(clear, 1), "clear": clear / total}


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
    tokens = model.tokenizer.encode(corpus.text)
    if part != "all":
        tokens = split(tokens, model.config.context, model.settings["train"]["val_fraction"])[part == "validation"]
    if len(tokens) < 2:
        raise UserError(f"corpus {corpus.name!r} has {len(tokens)} tokens: expected at least 2, one to predict the next from")

    batches = math.ceil((len(tokens) - 1) / model.config.context / 16)
    progress = partial(tqdm, total=batches, unit="batch", leave=False) if sys.stderr.isatty() else iter
    with ThreadPoolExecutor(args.threads) as pool:
        loss = mean_loss(model.running, tokens, pool, batch=16, progress=progress)
    scored = len(tokens) - 1
    result = {"loss": loss, "ppl": math.exp(min(loss, 700)), "tokens": scored, "floor": None, "engine": args.engine, "split": part,
              "bits_per_byte": loss * scored / math.log(2) / model.tokenizer.count_bytes(tokens[1:]),
              "data": corpus.name, "replaced": corpus.replaced, "checkpoint": args.checkpoint}
    if args.json:
        print(json.dumps(result))
    else:
        print(f"{corpus.name}, {part}: loss {loss:.4f} nats/token, perplexity {result['ppl']:.3f}, {result['bits_per_byte']:.4f} bits per "
              f"byte over {scored:,} tokens ({args.engine} engine, {args.checkpoint} checkpoint)")
        if corpus.replaced:
            print(f"{corpus.replaced:,} places were not UTF-8 and were read as U+FFFD")
    return _command.DONE


if __name__ == "__main__":
    _command.run(main)
