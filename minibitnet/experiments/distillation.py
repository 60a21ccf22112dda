"""What a float teacher gives back of what rounding to ternary loses, in miniature.
[bitdistill] arXiv 2510.13998

A ternary student takes the float weights of each seed's model, and goes on as BitNet trains: on the text
alone, with the teacher's distributions beside it, and with its relations as well. Beside these stand ternary
models from scratch, of as many steps as the student has had alone, and as both have had together.
"""
from functools import cache, partial

from ..measure import plotting
from ..nn.model import Transformer
from ..nn.optim import AdamW
from ..nn.training import Recorder, TrainConfig, train, with_defaults
from ..ptq.distill import distilled, student_of
from . import miniatures
from .after_training import excess, language_model, quantized
from .lines import Experiment, Line
from .miniatures import BATCH, SEEDS, STEPS, in_seeds, own_rate, run
from .replacing import replaced
from .uncertainty import interval, mean_of, pooled, words

WIDTH, MORE = 32, 60                   # steps that the student goes on
TERMS = {"trained on": {"logits": 0.0}, "with its distributions": {},
         "and its relations": {"relations_of": miniatures.LAYERS - 1}}


@cache
def student(seed, what):
    """The ternary student of a seed's float model after MORE steps."""
    _, training, validation, _ = miniatures.pets()
    teacher = run("float", WIDTH, own_rate(WIDTH), seed=seed).model
    model, told = student_of(teacher), teacher.quantized()
    c = with_defaults(TrainConfig(data="pets", lr=own_rate(WIDTH), steps=MORE, batch=BATCH, seed=100 + seed,
                                  eval_every=MORE, log_every=MORE), model.config)

    def loss(self, ids, targets):
        return distilled(self, told, ids, targets, **TERMS[what])
    with replaced(Transformer, "loss", loss):
        train(model, AdamW(model.parameters(), c.beta1, c.beta2), c, training,
              Recorder(None, {}, validation, 1))
    return model


def distill(seeds=(0,), progress=iter):
    """-> {"config", "rows": for each way the excess of each seed}"""
    ways = {"float teacher": lambda seed: run("float", WIDTH, own_rate(WIDTH), seed=seed).excess,
            "the student at its beginning": lambda seed: excess(language_model(student_of(
                run("float", WIDTH, own_rate(WIDTH), seed=seed).model))),
            "rounded by GPTQ": lambda seed: excess(quantized(WIDTH, seed, "gptq", 1.58, None))}
    ways |= {what: lambda seed, what=what: excess(language_model(student(seed, what))) for what in TERMS}
    ways |= {f"from scratch, {steps} steps": lambda seed, steps=steps: run(
        "ternary", WIDTH, own_rate(WIDTH), steps, seed).excess for steps in (MORE, STEPS + MORE)}
    rows = [{"what": what, "excess": [of(seed) for seed in seeds]} for what, of in progress(ways.items())]
    return {"config": {"text": "pets", "width": WIDTH, "steps": STEPS, "more": MORE, "seeds": list(seeds)},
            "rows": rows}


def distill_in_words(result):
    """A line for each way."""
    config, rows = result["config"], {r["what"]: r["excess"] for r in result["rows"]}
    scale = (f"pets, width {config['width']}, teacher {config['steps']} steps, then {config['more']}, "
             f"{in_seeds(config)}")
    means = {what: mean_of(each) for what, each in rows.items()}
    spread = pooled([rows[what] for what in TERMS])
    said = {what: words(*interval(rows[what], *spread)) for what in TERMS}
    alone, *with_teacher = TERMS
    best = min(with_teacher, key=means.get)
    scratch, whole = (f"from scratch, {steps} steps" for steps in (
        config["more"], config["steps"] + config["more"]))
    yield Line("distilled, a ternary student comes near its float teacher",
               f"{means['the student at its beginning']:.0f} nats a story above the floor at its beginning, "
               f"trained on {said[alone]}, {best} {said[best]}; the teacher {means['float teacher']:.1f}; "
               f"ternary from scratch in as many steps as both {means[whole]:.1f}", scale,
               differs=means[best] > means[alone] or means[best] > 2 * means["float teacher"])
    for what, each in rows.items():
        yield Line(what, f"{', '.join(f'{e:.1f}' for e in each)} nats a story", scale)
    gain = means[scratch] - means[alone]
    yield (f"From the teacher's weights {config['more']} steps end {gain:.1f} nats below as many from "
           "scratch: who has a float model begins there. Who has none trains ternary from the start.")


def draw(result, path):
    """Every way's excess."""
    return plotting.differences([(r["what"], mean_of(r["excess"]), 0.0) for r in result["rows"]],
                                "nats a story above the floor", path)


EXPERIMENTS = {"distill": Experiment(distill, distill_in_words, partial(distill, SEEDS), draw)}
