"""Quantizing after training beside training with few bits, in miniature.   [bitnet] Table 3, Figs. 1, 6

One float model of each seed, trained on pets, is quantized in every way of the table; beside it stand a
ternary and a binary model that were trained so. The calibration is stories that were trained on.
"""
from functools import cache, partial

from ..formats.checkpoint import parameters_sha256
from ..language_model import FloatEngine, LanguageModel
from ..measure import plotting
from ..ptq.quantize import loss_of, quantize_model
from ..text.streams import documents_of
from . import miniatures, paper
from .lines import Experiment, Line
from .miniature_parts import average, right
from .miniatures import SEEDS, STEPS, in_seeds, own_rate, run
from .quantized_run import OURS, TABLE
from .uncertainty import mean_of, spread

WIDTH, WIDTHS, EVERY = 32, (16, 24, 32, 48), 8
CALIBRATION = 64                       # stories
TRAINED = {"Transformer": "float", "BitNet b1.58, trained": "ternary", "BitNet, trained": "binary"}
PRINTED = {"Transformer": ("16", "Transformer"), "BitNet, trained": ("1", "BitNet")} | {      # in the paper
    what: (str(bits), what.partition(",")[0]) for what, (_, bits, _) in TABLE.items()}


@cache
def texts():
    """-> (stories to calibrate with, stories that were not trained on)"""
    tokenizer, training, validation, _ = miniatures.pets()
    stories = ([tokenizer.decode(story) for story in documents_of(part.stream)]
               for part in (training, validation))
    return tuple(map(tuple, stories))


def language_model(transformer):
    """A model of pets, as the library's calls take it."""
    return LanguageModel(FloatEngine(transformer), miniatures.pets()[0], {"corpus": {"documents": True}})


def excess(model):
    """Nats a story above the floor."""
    _, _, validation, floor = miniatures.pets()
    return validation.per_document(loss_of(model, texts()[1]) - floor)


@cache
def quantized(d, seed, method, bits, activation_bits):
    """The float model of a width and seed, quantized."""
    model = language_model(run("float", d, own_rate(d), seed=seed).model)
    return quantize_model(model, bits, method=method, calibration=texts()[0][:CALIBRATION],
                          activation_bits=activation_bits, seed=seed)


# ---- [bitnet] Table 3

def ptq(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each way the excess, the parameters' sha256 and the share of right answers of
    each seed}"""
    models = {what: lambda seed, arm=arm: language_model(run(arm, WIDTH, own_rate(WIDTH), seed=seed).model)
              for what, arm in TRAINED.items()}
    models |= {what: lambda seed, how=how: quantized(WIDTH, seed, *how)
               for what, how in (TABLE | OURS).items()}
    rows = []
    for what, make in progress(models.items()):
        each = [make(seed) for seed in seeds]
        rows.append({"what": what, "excess": [excess(model) for model in each],
                     "sha256": [parameters_sha256(model.engine.transformer.arrays()) for model in each],
                     "right": [average(as_lists(right(model.engine.transformer, every=EVERY)))
                               for model in each]})
    return {"config": {"text": "pets", "width": WIDTH, "steps": STEPS, "seeds": list(seeds),
                       "calibration": CALIBRATION}, "rows": rows}


def as_lists(shares):
    """{kind: share} -> {kind: [share]}"""
    return {kind: [share] for kind, share in shares.items()}


def ptq_in_words(result):
    """A line for every way."""
    config, printed = result["config"], paper.table("b1_table_3").rows
    scale = f"pets, width {config['width']}, {config['steps']} steps, {in_seeds(config)}"
    means = {r["what"]: mean_of(r["excess"]) for r in result["rows"]}
    binary, ternary = means["BitNet, trained"], means["BitNet b1.58, trained"]
    below = [what for what, (_, bits, _) in TABLE.items() if bits <= 2]
    beaten = [what for what in below if means[what] > binary]
    four = [what for what, (_, bits, _) in TABLE.items() if bits == 4 and means[what] > binary]
    yield Line("BitNet is near 8-bit models and above every post-training quantization below 8 bits",
               f"trained: binary {binary:.1f}, ternary {ternary:.1f} nats a story above the floor, floats "
               f"{means['Transformer']:.1f}; binary is better than {len(beaten)} of the {len(below)} ways of "
               f"1 and 2 bits, and than {len(four)} of the 3 of 4 bits", scale,
               differs=len(beaten) < len(below) or len(four) < 3 or binary > 2 * means["Absmax, W8A8"])
    for r in result["rows"]:
        what = r["what"]
        there = f"{what}: perplexity {printed[PRINTED[what]]['PPL']}" if what in PRINTED else what
        yield Line(there, f"{', '.join(f'{e:.1f}' for e in r['excess'])} nats a story; "
                   f"{mean_of(r['right']):.0%} right", scale)
    after = min(means[what] for what in OURS if "1.58" in what)
    yield (f"Ternary after training (W1.58) costs {after:.0f} nats at best, ternary in training "
           f"{ternary:.1f}. Absmax of one bit has plus and minus the largest weight of a row.")


def draw_ptq(result, path):
    """Every way's excess."""
    return plotting.differences([(r["what"], mean_of(r["excess"]), (max(r["excess"]) - min(r["excess"])) / 2)
                                 for r in result["rows"]], "nats a story above the floor", path)


# ---- [bitnet] Fig. 6: by size

BY_SIZE = {"GPTQ, W4A16": TABLE["GPTQ, W4A16"], "QuIP, W2A16": TABLE["QuIP, W2A16"],
           "GPTQ, W2A16": TABLE["GPTQ, W2A16"], "GPTQ, W1.58A16": OURS["GPTQ, W1.58A16"]}


def ptq_by_size(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each width the excess of every way, of each seed}"""
    rows = []
    for d in progress(WIDTHS):
        each = {arm: [run(arm, d, own_rate(d), seed=seed).excess for seed in seeds]
                for arm in ("float", "ternary")}
        each |= {what: [excess(quantized(d, seed, *how)) for seed in seeds] for what, how in BY_SIZE.items()}
        rows.append({"d": d, **each})
    return {"config": {"text": "pets", "steps": STEPS, "seeds": list(seeds), "calibration": CALIBRATION},
            "rows": rows}


def ptq_by_size_in_words(result):
    """A line for every width."""
    config, rows = result["config"], result["rows"]
    scale = f"pets, {config['steps']} steps, {in_seeds(config)}"
    few = [what for what, (_, bits, _) in BY_SIZE.items() if bits <= 2]
    wins = [r["d"] for r in rows if mean_of(r["ternary"]) < min(mean_of(r[what]) for what in few)]
    yield Line("against quantizing after training to few bits the advantage holds at every size",
               f"trained ternary is below every way of 2 and 1.58 bits at {len(wins)} of {len(rows)} widths",
               scale, differs=len(wins) < len(rows))
    for r in rows:
        here = "; ".join(f"{what} {mean_of(r[what]):.1f}" for what in ("float", "ternary", *BY_SIZE))
        yield Line(f"width {r['d']}", f"nats a story above the floor: {here}", scale)


def draw_ptq_by_size(result, path):
    """The excess of every way over the width."""
    series = {what: {r["d"]: spread(r[what]) for r in result["rows"]}
              for what in ("ternary", "float", *BY_SIZE)}
    return plotting.panels([("width", "excess (nats a story)", series)], path, log=True)


EXPERIMENTS = {
    "ptq": Experiment(ptq, ptq_in_words, partial(ptq, SEEDS), draw_ptq),
    "ptq_by_size": Experiment(ptq_by_size, ptq_by_size_in_words, partial(ptq_by_size, SEEDS),
                              draw_ptq_by_size),
}
