"""Score a trained model on text:  python -m minibitnet.evaluate --model runs/tiny"""
from . import _command  # first: from here on Ctrl-C is heard

import json
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from .api import foreign_to_run, model_of, run_at
from .errors import UserError
from .exact import exp_float
from .exact_functions import perplexity
from .language_model import ENGINES, FloatEngine, LanguageModel, engine_name
from .measure import held_out
from .measure.agreement import CLEAR, MOVED, TokenByTokenModel, agreement
from .measure.held_out import text_to_score
from .measure.trigram import trigram_loss
from .formats import checkpoint
from .formats.safetensors import FormatError
from .pretrained import open_model
from .nn.training import mean_loss, most_threads, tokens_at_once
from .stories import tasks
from .text.batches import repeated
from .threads import pool_of

BATCH = 16            # sequences at a time
MOST_LOGITS = 2**26   # of a window, of a model that others trained: 256 MB
COMPARED = 2**22      # logits that a comparison, which has one thread, may hold
ITEMS = 200           # questions of each kind
TASK_SEED = 2**32     # no corpus is made with this seed: the stories of the questions are new to every model
DESCRIPTION = """Loss, perplexity and bits per byte of a trained model, each token of the text scored once,
in non-overlapping windows of the model's context. On the corpus that the model was trained on this is the
validation part, elsewhere all of the text."""


def main(argv):
    """argv -> exit code."""
    parser = _command.Parser("evaluate", DESCRIPTION)
    _command.add_model_flags(parser, ENGINES)
    parser.add_argument("--data", type=_command.named, metavar="PATH",
                        help="a UTF-8 text file, or a name from python -m minibitnet.data list (the run's "
                             "own corpus)")
    parser.add_argument("--split", choices=("validation", "train", "all"),
                        help="which part of the text (see above)")
    parser.add_argument("--compare", action="store_true",
                        help="also compare the engine with the float engine, token by token")
    parser.add_argument("--trigram", action="store_true",
                        help="also count trigrams on the text before the validation part, and score it "
                             "with them")
    parser.add_argument("--tasks", type=_command.named, metavar="stories|FILE",
                        help="answer multiple-choice questions instead: about stories, or of a file of JSON "
                             "lines")
    parser.add_argument("--items", type=_command.positive_int, metavar="N",
                        help=f"questions of each kind about stories ({ITEMS})")
    parser.add_argument("--context", type=_command.positive_int, metavar="N",
                        help="windows of N tokens (the model's context, or of others' models what fits into "
                             "256 MB of logits)")
    _command.add_threads(parser, "batches or questions at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args(argv)

    if args.tasks and (args.data or args.split or args.trigram or args.compare or args.context):
        parser.error("--tasks answers questions instead of scoring a text: --data, --split, --trigram, "
                     "--compare and --context do not go with it")
    if args.items and args.tasks != "stories":
        parser.error(f"--items {args.items}: expected --tasks stories, whose questions are made; a file has "
                     f"as many as it has")
    model = open_model(args.model, args.engine, args.checkpoint,
                       warn=lambda note: _command.say(f"note: {note}"))
    args.engine = args.engine or engine_name(model)
    batch = model.settings["train"].get("batch", 1)          # what was enough to train with is enough here
    context = args.context or window(model)
    if context > model.config.context:
        raise UserError(f"--context {context:,}: expected at most the model's own, {model.config.context:,}")
    with pool_of(min(args.threads, most_threads(batch, context))) as pool:
        if args.tasks:
            result = answers(args, model, pool)
            print(json.dumps(result) if args.json else "\n".join(answers_in_words(result)))
            return _command.DONE
        with _command.bar(unit="B", unit_scale=True, desc="tokens", delay=2) as bar:
            corpus, split, part, before = text_to_score(model, args.data, args.split, bar.update, context)
        if args.trigram and split != "validation":
            raise UserError(f"--trigram: it counts on the training part and scores the validation part, "
                            f"not {split!r}: add --split validation")
        if args.compare and not model.settings["train"]:
            raise UserError(f"--compare: {args.model} is no run: expected one, with a checkpoint to compare "
                            "with")
        float_model = same_step(args.model, model) if args.compare else None      # before the long part
        result = {"data": corpus.name, "split": split, "engine": args.engine,
                  "step": model.step if model.settings["train"] else None,
                  "replaced": corpus.replaced,
                  **scores(model, part, pool, before if corpus.sha256 == model.settings["corpus"]["sha256"]
                           else None, apart=split == "validation")}
        if args.compare:
            result |= comparison(model, float_model, part)
        if args.trigram:
            result["trigram_loss"] = trigram_loss(before.stream.tokens, part.stream.tokens,
                                                  model.config.vocab_size)
    print(json.dumps(result) if args.json else "\n".join(in_words(result, corpus.replaced_in_words)))
    return _command.DONE


def scores(model, part, pool, learnt, apart=True):
    """What a model needs for a text, and the least that any could need, where that is known. learnt: the
    Part that it was trained on, if the text is of the same corpus: documents that are in it have an
    entropy, but no floor. apart: do the two share no place of the corpus, so that a document of both may be
    one that its source told twice?"""
    tokens = at_once(model, part)
    loss = mean_loss(model.losses, part, pool, tokens, BATCH,
                     progress(part.n_batches(BATCH), "scored"))
    entropy = held_out.floor(part, model.tokenizer)
    n_bytes = part.count_bytes(model.tokenizer)
    trained_on = None if learnt is None or entropy is None else (
        held_out.copied(part, learnt, model.tokenizer) if apart else repeated(part, learnt))
    floor = None if trained_on else entropy
    return {"loss": loss, "ppl": perplexity(loss), "tokens": part.n_targets,
            "documents": part.n_documents,
            "bits_per_byte": part.bits_per_byte(loss, n_bytes), "entropy": entropy,
            "trained_on": trained_on, "floor": floor,
            "floor_bits_per_byte": None if floor is None else part.bits_per_byte(floor, n_bytes),
            "excess_per_document": None if floor is None else part.per_document(loss - floor)}


def window(model):
    """Of how many tokens windows are: of a run the context that it was trained with."""
    c = model.config
    return c.context if model.settings["train"] else min(c.context, max(2, MOST_LOGITS // c.vocab_size))


def at_once(model, part):
    """How many tokens a thread may read together."""
    c = replace(model.config, context=part.context)
    return tokens_at_once(model.settings["train"].get("batch", 1), c)


def progress(total, description=None):
    """A function that wraps an iteration over batches into a bar on a terminal."""
    return partial(_command.bar, total=total, unit="batch", desc=description)


def answers(args, model, pool):
    """{kind of question: its score; beside it, for stories, what remembering the words that were said would
    reach, and the true distribution}"""
    stories = args.tasks == "stories"
    if stories:
        kinds = {kind: tasks.items(kind, TASK_SEED, args.items or ITEMS) for kind in tasks.KINDS}
    else:
        kinds = {Path(args.tasks).stem: tasks.read_jsonl(args.tasks)}
    result = {}
    for kind, items in kinds.items():
        with _command.bar(total=len(items), desc=kind) as bar:
            def answer(item):
                likelihoods = model.log_likelihoods(item.context, item.choices)
                bar.update()
                return likelihoods
            answered = dict(zip(items, pool.map(answer, items)))
        too_long = sum(max(len(model.encode(item.context + choice)) for choice in item.choices)
                       > model.config.context + 1 for item in items)
        by_question = {item[:2]: likelihoods for item, likelihoods in answered.items()}
        scored = tasks.score(items, lambda context, choices: by_question[context, choices])
        result[kind] = {**scored._asdict(), "cut": too_long,
                        "named": tasks.guess(items) if stories else None,
                        "ceiling": tasks.ceiling(items) if stories else None}
    return result


def answers_in_words(result):
    """The lines of a table of scores."""
    yield (f"{'right answers, %':20}{'by sum':>14}{'by byte':>16}{'chance':>9}{'named':>9}{'ceiling':>9}"
           f"{'items':>8}")
    for kind, s in result.items():
        named, ceiling = ("unknown" if s[key] is None else f"{100 * s[key]:.0f}"
                          for key in ("named", "ceiling"))
        yield (f"{kind:20}{100 * s['accuracy']:8.1f} ± {100 * s['standard_error']:3.1f}"
               f"{100 * s['accuracy_norm']:10.1f} ± {100 * s['standard_error_norm']:3.1f}"
               f"{100 * s['chance']:9.0f}{named:>9}{ceiling:>9}{s['n']:>8}")
    yield ("by sum: the choice of the largest log-likelihood is the answer; by byte: of the largest "
           "log-likelihood per byte")
    for kind, s in result.items():
        if s["cut"]:
            yield (f"{kind}: {s['cut']} of {s['n']} items are longer than the model's context: their "
                   "beginning was cut off, and of a choice that alone is longer only the end is scored, "
                   'though "by byte" divides by all of it')
    if named != "unknown":
        yield "named: a guess among the choices whose (last) word the story has said already"


def same_step(path, model):
    """The float engine of the run's checkpoint that the model was made from, which is the one of its step."""
    run, found = run_at(path), []
    foreign = foreign_to_run(run)
    for file in filter(Path.exists, (run.last, run.prev, run.best)):
        try:
            saved = checkpoint.load(file)
        except FormatError as e:
            found.append(str(e))
            continue
        if reason := foreign(saved):
            found.append(f"{file.name}: {reason}")
        elif saved.step == model.step and saved.config["model"] == model.settings["model"]:
            return LanguageModel(FloatEngine(model_of(saved, file)), model.tokenizer, model.settings,
                                 saved.step)
        else:
            found.append(f"{file.name} is of step {saved.step:,}")
    raise UserError(f"{run.packed} is of step {model.step:,}, and no checkpoint is "
                    f"({'; '.join(found) or 'there is none'}): pack again, then --compare")


def comparison(model, float_model, part):
    """An engine beside the float engine on the same text, and beside itself reading token by token on the
    first windows."""
    tokens = max(at_once(model, part), COMPARED // model.config.vocab_size)
    whole = progress(part.n_batches(BATCH), "beside the float engine")(part.all(BATCH))
    first = progress(min(2, part.n_batches(BATCH)), "token by token")(islice(part.all(BATCH), 2))
    return {"against_float": agreement(model, float_model, whole, tokens)._asdict(),
            "token_by_token": agreement(TokenByTokenModel(model), model, first, tokens)._asdict()}


def in_words(r, replaced=""):
    """The lines that tell a result; replaced: of a Corpus."""
    yield (f"{r['data']}, {r['split']}: loss {r['loss']:.4f} nats/token, perplexity {r['ppl']:.3f}, "
           f"{r['bits_per_byte']:.4f} bits per byte over {r['tokens']:,} tokens ({r['engine']} engine"
           + ("" if r["step"] is None else f", step {r['step']:,}") + ")")
    if r["floor"] is not None:
        above = exp_float(r["loss"] - r["floor"])
        yield (f"the floor of this text is perplexity {exp_float(r['floor']):.3f}, "
               f"{r['floor_bits_per_byte']:.4f} bits per byte: perplexity / floor {above:.3f}, "
               f"{r['excess_per_document']:.2f} excess nats per document")
    elif r["entropy"] is not None:
        yield (f"the entropy of these documents is perplexity {exp_float(r['entropy']):.3f}; that is no "
               f"floor, for the model was trained on {r['trained_on']:,} of the {r['documents']:,}, and what "
               "is learnt by heart can cost less")
    if replaced:
        yield replaced
    if "trigram_loss" in r:
        yield (f"a trigram model of the training part has perplexity {exp_float(r['trigram_loss']):.3f}, "
               f"{exp_float(r['trigram_loss'] - r['loss']):.2f} times the model's")
    for name, title in (("against_float", "beside the float engine"),
                        ("token_by_token", "token by token, beside the whole sequence")):
        if name in r:
            a = r[name]
            yield (f"{title}: logits move by more than {MOVED} nats at {a['moved']:.1%} of {a['targets']:,} "
                   f"places; the same token is likeliest at {a['agree']:.2%}, at {a['agree_clear']:.3%} of "
                   f"the {a['clear']:,} where two best differ by more than {CLEAR}; in all "
                   f"{a['loss'] - a['reference_loss']:+.5f} nats/token")
    if "against_float" in r and r["engine"] == "integer":
        yield ("that logits move is as it should be: without a float every value is rounded in a way of its "
               "own. What counts is what it costs, the nats/token, and how often another token is likeliest")
    elif any(name in r and r[name]["moved"] for name in ("against_float", "token_by_token")):
        yield ("why they move: a value close to a rounding tie, rounded in another way, got another code, "
               "and all that follows hears of it")


if __name__ == "__main__":
    _command.run(main)
