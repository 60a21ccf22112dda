"""Is a model's file sound?  python -m minibitnet.inspect runs/tiny"""
from . import _command  # first: from here on Ctrl-C is heard

import json
import math
from dataclasses import asdict

from .exact_functions import perplexity
from .interop import source
from .interop.examination import examine
from .interop.soundness import FAULTS, entropy, look
from .measure.plotting import heat, unwritable

DESCRIPTION = """Tell whether a model is sound, and if it is not, what is wrong with it: a damaged file, a
wrong conversion, or simply a bad model.

PATH is a run or one file of it, a directory of Hugging Face or the name of one, a safetensors or a GGUF file.
Its matrices are looked at (zeros, signs, scales, entropy, rows), then embedding, gains and tokenizer; and the
model is run on a text, as it is read, and again with each of the usual mistakes of conversion undone. "Sound"
says that none of this was found, and that the model predicts a text better than a table of how often each
token comes; it does not say how good the model is. Exit code 0: sound, 1: not, or there is no such model."""
# a share of normal latent weights: |w| < mean|w| / 2, and mean|w| is sqrt(2 / pi) of their deviation
NORMAL_ZEROS = math.erf(math.sqrt(2 / math.pi) / 2 / math.sqrt(2))
HEIGHTS = " ▁▂▃▄▅▆▇█"
MOST_SAID = 3            # findings of one kind that are printed


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("inspect", DESCRIPTION)
    parser.add_argument("path", metavar="PATH", type=_command.named, help="the model")
    parser.add_argument("--data", metavar="TEXT", type=_command.named,
                        help="a text in the model's language, to run it on (its own, or stories and pets)")
    parser.add_argument("--no-run", action="store_true", help="look, and do not run the model")
    parser.add_argument("--plot", metavar="FILE", type=_command.path,
                        help="also draw the zeros of every matrix, layer by layer")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    _command.add_threads(parser, "for running it")
    args = parser.parse_args(argv)
    if args.plot and (wrong := unwritable(args.plot)):
        parser.error(f"--plot {args.plot}: {wrong}")
    if args.data and args.no_run:
        parser.error("--data names a text to run the model on: it does not go with --no-run")
    with _command.bar(unit="step") as bar:
        def report(what):
            bar.set_description(what, refresh=False)
            bar.update()
        found = examine(args.path, data=args.data, run=not args.no_run, threads=args.threads, report=report)
    print(json.dumps(as_json(args.path, found)) if args.json else "\n".join(in_words(args.path, found)))
    if args.plot and not draw(found, args.plot):
        _command.say(f"note: {args.plot} was not drawn: there are no matrices of codes")
    return _command.DONE if found.sound else _command.USER_ERROR


def as_json(path, found):
    """A Report as JSON can hold it."""
    heard = found.heard and {**found.heard._asdict(), "ppl": perplexity(found.heard.loss),
                             "unigram_ppl": perplexity(found.heard.unigram)}
    if heard:                                    # of a model that gives no numbers it is infinite
        numbers = heard.pop("readings"), heard.pop("loss")
        heard["readings"] = {fault: perplexity(loss) for fault, loss in numbers[0].items()}
    return {"path": path, "kind": found.kind, "sound": found.sound,
            "findings": [finding._asdict() for finding in found.findings], "notes": found.notes,
            "model": found.c and asdict(found.c), "heard": heard,
            "matrices": [{"name": s.name, "shape": [s.n, s.m], "zeros": s.zeros, "balance": s.balance,
                          "scale": s.scale, "entropy": s.entropy, "constant_rows": s.constant}
                         for s in found.seen]}


# ---- in words

def in_words(path, found):
    """The lines that tell a Report."""
    yield f"{path}: {found.kind}" + (f", {found.c.summary}" if found.c else "")
    if found.seen:
        yield from table(found.seen)
    if found.heard:
        yield from heard_in_words(found.heard)
    yield from (f"note: {note}" for note in found.notes)
    if found.sound:
        yield "sound"
        return
    faults = dict.fromkeys(finding.fault for finding in found.findings)
    yield f"NOT SOUND: {', '.join(faults)}"
    for fault in faults:
        said = [finding.said for finding in found.findings if finding.fault == fault]
        yield f"  {fault}: {FAULTS[fault]}"
        yield from (f"    {line}" for line in said[:MOST_SAID])
        if len(said) > MOST_SAID:
            yield f"    and {len(said) - MOST_SAID:,} more"


def table(seen):
    """Lines, one for each kind of matrix, and what to compare them with."""
    yield ""
    yield (f"{'':20}{'matrices':>9}{'zeros, %':>15}{'+1 less -1, %':>16}{'bits':>15}"
           f"{'scale sqrt(in)':>16}  zeros by layer")
    kinds: dict = {}
    for s in seen:
        kinds.setdefault(s.kind, []).append(s)
    for kind, alike in kinds.items():
        strip = "".join(HEIGHTS[min(8, int(9 * s.zeros + 0.5))] for s in alike)
        yield line(kind, alike) + f"  {strip}"
    yield line("storyteller, trained", [look(*item) for item in source.read("storyteller").matrices.items()])
    zeros = NORMAL_ZEROS
    bits = entropy([zeros, (1 - zeros) / 2, (1 - zeros) / 2]) / math.log(2)
    yield f"{'normal numbers':20}{'':>9}{100 * zeros:>15.1f}{0:>16}{bits:>15.2f}"
    yield ""


def line(kind, alike):
    """A line of figures, from the least to the most."""
    def span(numbers, form):
        low, high = f"{min(numbers):{form}}", f"{max(numbers):{form}}"
        return low if low == high else f"{low} to {high}"
    return (f"{kind:20}{len(alike):>9}{span([100 * s.zeros for s in alike], '.1f'):>15}"
            f"{span([round(100 * s.balance) for s in alike], '+d'):>16}"
            f"{span([s.entropy for s in alike], '.2f'):>15}"
            f"{span([s.relative_scale for s in alike], '.3g'):>16}")


def heard_in_words(heard):
    """What the model says, as it is read and in other ways."""
    yield (f"perplexity of {heard.tokens:,} tokens of {heard.text}: {perplexity(heard.loss):,.4g}; of a "
           f"table of their frequencies {perplexity(heard.unigram):,.4g}")
    others = (f"{fault} {perplexity(loss):,.4g}" for fault, loss in heard.readings.items())
    yield f"with one thing read in another way: {', '.join(others)}"


def draw(found, path):
    """The picture of zeros, a row for each kind of matrix -> is there something to draw?"""
    kinds = list(dict.fromkeys(s.kind for s in found.seen))
    zeros = [[100 * s.zeros for s in found.seen if s.kind == kind] for kind in kinds]
    return bool(found.seen) and heat(zeros, kinds, "layer", "zeros (%)", path)


if __name__ == "__main__":
    _command.run(main)
