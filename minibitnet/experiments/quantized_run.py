"""A float model of the plan, quantized after training in every way of [bitnet] Table 3 and in a few more.

The outcome of a run whose change is ``plan.QUANTIZED``:

    model_sha256    of the float model's parameters
    ways            {way: {"sha256": of the parameters, "excess": nats a story above the floor, "right": {kind
                    of question: share of its first QUESTIONS that were answered right}}}
"""
import time
from itertools import islice

from ..formats.checkpoint import parameters_sha256
from ..language_model import FloatEngine, LanguageModel
from ..ptq.quantize import quantize_model
from ..stories import tasks
from ..text.streams import documents_of
from . import training_run
from .plan import QUANTIZED
from .training_run import FIRST_TASK_SEED, HOME, above, is_right, items, nats_of_stories, tokens_of

CALIBRATION, QUESTIONS = 128, 100      # stories, as many as the samples of [gptq] §4; questions of a kind
# method as the paper has it: ours, bits of weights, bits of activations
TABLE = {
    "Absmax, W8A8": ("absmax", 8, 8), "SmoothQuant, W8A8": ("smoothquant", 8, 8),
    "GPTQ, W4A16": ("gptq", 4, None), "Absmax, W4A4": ("absmax", 4, 4),
    "SmoothQuant, W4A4": ("smoothquant", 4, 4), "GPTQ, W2A16": ("gptq", 2, None),
    "QuIP, W2A16": ("quip", 2, None), "Absmax, W1A8": ("absmax", 1, 8),
    "SmoothQuant, W1A8": ("smoothquant", 1, 8),
}
OURS = {"nearest, W1.58A16": ("nearest", 1.58, None), "GPTQ, W1.58A16": ("gptq", 1.58, None),
        "QuIP, W1.58A16": ("quip", 1.58, None), "GPTQ, W1A16": ("gptq", 1, None)}


def carry_out(run, home=HOME, stopped=lambda: False, report=lambda line: None):
    """As ``training_run.carry_out``. A quantized run has its float model trained, or goes on with it, in that
    model's own folder; what it took counts only what was done now."""
    if run.change != QUANTIZED:
        return training_run.carry_out(run, home, stopped, report)
    began = time.process_time()
    result = training_run.carry_out(run._replace(change=""), home, stopped, report, quantized)
    return result and result | {"config": run._asdict(),
                                "cpu_seconds": round(time.process_time() - began, 1)}


def quantized(run, m, transformer, settings, *_):
    """The outcome."""
    model = LanguageModel(FloatEngine(transformer), m.tokenizer, settings, run.steps)
    read = [m.tokenizer.decode(story) for story in islice(documents_of(m.training.stream), CALIBRATION)]
    return {"model_sha256": parameters_sha256(transformer.arrays()), "ways": {
        what: scored(run, m, settings, quantize_model(
            model, bits, method=method, calibration=read, text=read[:1], activation_bits=activation_bits,
            seed=run.seed))
        for what, (method, bits, activation_bits) in (TABLE | OURS).items()}}


def scored(run, m, settings, model):
    """What a model reaches."""
    nats = nats_of_stories(model.engine.quantized.losses, m.validation, tokens_of(model, settings))
    found = above(nats, m.floors)
    del found["stories"]
    right = {kind: sum(is_right(model, item) for item in items(kind, FIRST_TASK_SEED + run.seed)[:QUESTIONS])
             for kind in tasks.KINDS}
    return {"sha256": parameters_sha256(model.engine.transformer.arrays()), "excess": found,
            "right": {kind: n / QUESTIONS for kind, n in right.items()}}
