"""The parts of the recipe, and questions about what was read, in miniature. [bitnet] Table 4, Fig. 4;
[b158] Table 2."""
from functools import cache, partial

import numpy as np

from ..language_model import FloatEngine, LanguageModel
from ..measure import plotting
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from ..nn.optim import AdamW
from ..nn.training import Recorder, TrainConfig, train, with_defaults
from ..stories import pets
from ..text.batches import part_of
from ..text.streams import TokenStream, documents_of
from . import energy, miniatures, paper
from .ablations import CHANGES
from .lines import Experiment, Line
from .miniatures import ARMS, SEEDS, STEPS, in_seeds, own_rate, run
from .uncertainty import interval, mean_of, pooled

# ---- [bitnet] Table 4: what the norms and the activations' scale are worth

TABLE = {"BitNet": "", "Elastic + Pre-LN": "elastic", "Absmax + Pre-LN": "preln", "Absmax + BMT": "bmt"}
WIDTH = 32


def ablated(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each line of the table the excess of each seed, binary weights}"""
    rows = [{"method": method, "change": CHANGES[change].words,
             "excess": [run("binary", WIDTH, own_rate(WIDTH), seed=seed, change=change).excess
                        for seed in seeds]} for method, change in progress(TABLE.items())]
    return {"config": {"text": "pets", "width": WIDTH, "steps": STEPS, "seeds": list(seeds)}, "rows": rows}


def ablated_in_words(result):
    """A line for every method."""
    config, (base, *others) = result["config"], result["rows"]
    printed = paper.table("b1_table_4").rows
    scale = f"pets, binary, width {config['width']}, {config['steps']} steps, {in_seeds(config)}"
    each = {r["method"]: [a - b for a, b in zip(r["excess"], base["excess"], strict=True)] for r in others}
    sd, freedom = pooled(list(each.values()))
    gaps = {method: interval(differences, sd, freedom) for method, differences in each.items()}
    yield Line("absmax with SubLN is best, elastic with Pre-LN worst",
               "; ".join(f"{method} {mean:+.1f}" + (f" ± {half:.1f}" if half is not None else "")
                         for method, (mean, half) in gaps.items()) + " nats a story against BitNet", scale,
               differs=any(mean < (half or 0) for mean, half in gaps.values())
               or max(gaps, key=lambda method: gaps[method][0]) != "Elastic + Pre-LN")
    for r in result["rows"]:
        yield Line(f"{r['method']}: perplexity {printed['zero', r['method']]['PPL']}",
                   f"{', '.join(f'{e:.2f}' for e in r['excess'])} nats a story above the floor", r["change"])
    yield "One learning rate for all; in the plan elastic has a quarter of it as well."


# ---- questions about pets: which animal, which color?

QUESTIONS = {"animals": ("The", " is"), "colors": ("likes", ".")}      # said after the first; then the second
SHOTS, LINE = 4, 330                   # solved stories before a question; tokens that hold five
ASKED = (16, 32, 48)
READERS = {"ternary": 32, "float": 24}   # widths of about the same energy
READ, EVERY = 300, 4                   # steps of a reader of lines; which of the questions it is asked


@cache
def asked(kind):
    """-> [(what a story says before the word, choices, which is right)], one of each of the stories."""
    before, after = QUESTIONS[kind]
    choices = pets.WORDS[kind]["name"]
    found = []
    for story in stories():
        start, _, rest = story.rpartition(f" {before} ")
        right = next(i for i, word in enumerate(choices) if rest.startswith(word + after))
        found.append((f"{start} {before}", tuple(f" {word}{after}" for word in choices), right))
    return found


@cache
def stories():
    """All stories of the language that the text has, each once."""
    tokenizer, *both, _ = miniatures.pets()
    return sorted({tokenizer.decode(story) for part in both for story in documents_of(part.stream)})


def right(model, documents=True, shots=(), every=1):
    """Of a model: {kind: share of the questions that it answers right}, or of every so-manyth; shots: stories
    that are read before each."""
    tokenizer = miniatures.pets()[0]
    model = LanguageModel(FloatEngine(model), tokenizer, {"corpus": {"documents": documents}})
    solved = "".join(f"{story} " for story in shots)
    return {kind: mean_of([np.argmax(model.log_likelihoods(solved + context, choices)) == gold
                           for context, choices, gold in asked(kind)[::every]]) for kind in QUESTIONS}


def answers(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each width, and of each arm, the shares of each seed, and microjoules}"""
    def of(arm, d):
        shares = [right(run(arm, d, own_rate(d), seed=seed).model) for seed in seeds]
        return {"microjoules": energy.of_model(miniatures.configuration(arm, d))[1],
                **{kind: [share[kind] for share in shares] for kind in QUESTIONS}}
    rows = [{"d": d, **{arm: of(arm, d) for arm in ARMS}} for d in progress(ASKED)]
    return {"config": {"text": "pets", "steps": STEPS, "seeds": list(seeds), "stories": len(stories())},
            "rows": rows}


def average(shares):
    """Of a row's arm: over kinds and seeds."""
    return mean_of([share for kind in QUESTIONS for share in shares[kind]])


def answers_in_words(result):
    """A line for every width."""
    rows, config = result["rows"], result["config"]
    scale = f"pets, {config['steps']} steps, {in_seeds(config)}, {config['stories']} stories; chance 25 %"
    last = rows[-1]
    ternary, full = (average(last[arm]) for arm in ARMS)
    yield Line("zero-shot accuracy reaches full precision's from 3B on",
               f"ternary {ternary:.1%}, float {full:.1%} right at width {last['d']}; "
               f"{average(rows[0]['ternary']):.1%}, {average(rows[0]['float']):.1%} at width {rows[0]['d']}",
               scale, differs=ternary < full)
    for r in rows:
        here = "; ".join(f"{arm} " + ", ".join(f"{kind} {mean_of(r[arm][kind]):.0%}" for kind in QUESTIONS)
                         for arm in ARMS)
        yield Line(f"width {r['d']}", here, scale)
    yield "Every story is asked about, so the share is exact: what is uncertain is the seed."


def draw_answers(result, path):
    """The share that is right over the energy."""
    series = {arm: {round(r[arm]["microjoules"], 1): 100 * average(r[arm]) for r in result["rows"]}
              for arm in ARMS}
    return plotting.points(series, "µJ for 512 tokens, 7 nm", "right (%)", path)


# ---- the same with solved stories before the question

def reader(arm, d, seed):
    """A model that has read the stories as one line, so that it knows what it is to have read some."""
    tokenizer, training, validation, _ = miniatures.pets()
    lines = [TokenStream(tokenizer.encode(" ".join(map(tokenizer.decode, documents_of(part.stream)))), None)
             for part in (training, validation)]
    config = ModelConfig(vocab_size=tokenizer.vocab_size, linear=arm, d_model=d, n_layers=miniatures.LAYERS,
                         n_heads=miniatures.HEADS, context=LINE)
    c = with_defaults(TrainConfig(data="pets", lr=own_rate(d), steps=READ, batch=2, seed=seed,
                                  eval_every=READ, log_every=READ), config)
    model = Transformer(config, seed)
    training, validation = (part_of(line, LINE) for line in lines)
    train(model, AdamW(model.parameters(), c.beta1, c.beta2), c, training,
          Recorder(None, {}, validation, validation.count_bytes(tokenizer)))
    return model


def shots(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each arm the shares without and with solved stories, of each seed}"""
    examples, rows = stories()[::len(stories()) // SHOTS][:SHOTS], []
    for arm, d in progress(READERS.items()):
        models = [reader(arm, d, seed) for seed in seeds]
        each = {n: [right(model, False, examples[:n], EVERY) for model in models] for n in (0, SHOTS)}
        rows.append({"arm": arm, "d": d, "microjoules": energy.of_model(miniatures.configuration(arm, d))[1],
                     **{str(n): {kind: [share[kind] for share in shares] for kind in QUESTIONS}
                        for n, shares in each.items()}})
    return {"config": {"text": "pets", "steps": READ, "seeds": list(seeds), "shots": SHOTS},
            "rows": rows}


def shots_in_words(result):
    """A line for each arm."""
    config, few = result["config"], str(result["config"]["shots"])
    scale = f"pets, {config['steps']} steps, {in_seeds(config)}; chance 25 %"
    per = {r["arm"]: (average(r["0"]), average(r[few]), r["microjoules"]) for r in result["rows"]}
    yield Line("at the same inference cost BitNet answers more, zero-shot and few-shot",
               "; ".join(f"{arm} {zero:.1%} without, {some:.1%} with {few} examples, {cost:.1f} µJ"
                         for arm, (zero, some, cost) in per.items()), scale,
               differs=any(a < b for a, b in zip(per["ternary"][:2], per["float"][:2])))
    for r in result["rows"]:
        for n in ("0", few):
            yield Line(f"{r['arm']}, width {r['d']}, {n} examples",
                       ", ".join(f"{kind} {mean_of(r[n][kind]):.0%}" for kind in QUESTIONS), scale)
    yield ("Stories are independent of each other, so examples say nothing about the next one: whoever knows "
           "the language gains nothing from them, and a gain here is that of a longer text before the "
           "question.")


EXPERIMENTS = {
    "ablated": Experiment(ablated, ablated_in_words, partial(ablated, SEEDS)),
    "answers": Experiment(answers, answers_in_words, partial(answers, SEEDS), draw_answers),
    "shots": Experiment(shots, shots_in_words, partial(shots, SEEDS)),
}
