"""Which models are trained for the papers' trained rows, in which order, and at which rates: runs as data.

A block answers one question; a run whose learning rate another block decides waits for it. ``blocks`` is a
pure function of the results that are there, so whoever has the same results goes on in the same way.

Stories: rows of 288 tokens, so that no story is cut and the excess over the floor is exact story by story;
every story once, so that the training loss is one of stories that the model has not seen. All sizes and
arms of a seed read the same rows in the same order: their differences are paired. Depth and heads are fixed,
width is the only thing that grows. What decides most comes first; the last blocks, "the full form", make
intervals narrower and ask whether what the first ones say is an accident.
"""
import math
from functools import cache
from typing import NamedTuple

from ..measure import costs
from ..nn.config import ModelConfig
from ..nn.training import default_lr

ARMS = "ternary", "float", "binary"
PAIR = ARMS[:2]                       # those of every size and seed
CONTROL = "float_subln"               # full precision with BitNet's two sub-norms: the norms, or the bits?
STORIES, CHARACTERS = "stories", "tinyshakespeare"
SIZES, HELD_OUT, SMALLEST = (48, 64, 96, 128, 192), 320, 32
WIDTHS = (SMALLEST, *SIZES, HELD_OUT)
SEEDS = 0, 1, 2
LAYERS, HEADS = 4, 4
RECIPES = {                           # of a text: fields of ModelConfig and of TrainConfig
    STORIES: ({"context": 288}, {"batch": 4, "tokenizer": "bpe:512"}),
    CHARACTERS: ({"context": 64}, {"batch": 12, "tokenizer": "char"}),
}
STEPS, CHARACTER_STEPS = 4500, 2000
SWEEP_STEPS = {64: 3000, 128: STEPS}  # by width
RATES = {                             # of a sweep, seed 0; it goes on outward while its best is at an end
    64: {"ternary": (8e-3, 1.6e-2, 3.2e-2), "float": (8e-3, 1.6e-2, 3.2e-2),
         "binary": (4e-3, 8e-3, 1.6e-2, 3.2e-2)},
    128: {"ternary": (2e-3, 4e-3, 8e-3), "float": (1.25e-3, 2.5e-3, 5e-3), "binary": (2e-3, 6e-3)},
}
ABLATED, ABLATION_STEPS, ABLATION_SEEDS = 64, 1500, (0, 1)     # of 3,000 steps they would take twice as long
ABLATIONS = {                         # change of ablations.py: arms, and shares of their best rate
    "preln": (("ternary", "binary"), (1,)), "bmt": (("binary",), (1,)), "elastic": (("binary",), (1, 0.25)),
    "no_rescale": (("ternary",), (1, 0.25)), "zero_one": (("ternary",), (1, 0.25)),
    **dict.fromkeys(("fixed_scale", "median", "decay_kept", "warm_up", "floats_fifth", "floats_half",
                     "floats_anew", "weights_only", "activations_only"), (("ternary",), (1,))),
}
UNSTABLE = [0.004 * 2**i for i in range(7)]       # rates, 4e-3 to 0.256
UNSTABLE_STEPS = 600
GUARDS = {"both": (), "neither": (("clip", 0.0), ("warmup", 1)), "clip": (("warmup", 1),),
          "warm-up": (("clip", 0.0),)}
QUANTIZED = "quantized"               # a change: the run's model, quantized after training in many ways
QUANTIZED_WIDTHS = 64, 96
DROP = 0.356                          # nats a token, 30 a story: below, a model remembers who and whose


class Run(NamedTuple):
    """One training run. train: further fields of TrainConfig, as pairs."""
    text: str
    arm: str
    d: int
    lr: float
    steps: int
    seed: int = 0
    change: str = ""                  # of the model or the loop, one of an ablation's
    train: tuple = ()

    @property
    def name(self):
        """Of its file: what differs between runs."""
        options = "".join(f"-{name}{value:g}" if not isinstance(value, str) else f"-{value}"
                          for name, value in self.train)
        change = f"-{self.change}" * bool(self.change)
        return f"{self.text}-{self.arm}-{self.d}-lr{self.lr:g}-{self.steps}{change}{options}-{self.seed}"

    @property
    def questions(self):
        """Does it answer the story questions at its end? Unchanged models of the ladder's length do."""
        return self.text == STORIES and not self.change and self.steps >= STEPS

    @property
    def matrices(self):
        """N of its width."""
        return matrices(self.d)


@cache
def matrices(d):
    """N, the numbers in the projections of a width: the same in every arm."""
    return costs.in_matrices(ModelConfig(d_model=d, n_layers=LAYERS, n_heads=HEADS))


class Block(NamedTuple):
    """Runs that answer one question, and what they wait for ("" where they can all be named)."""
    name: str
    question: str
    runs: list
    waits: str = ""


def blocks(done):
    """{name of a run: its outcome} -> the Blocks in order. Those that wait name the runs that they can."""
    yield Block("sweep 64", "each arm's best rate where the model is small",
                [run for arm in ARMS for run in sweep(done, arm, 64)])
    yield Block("sweep 128", "and how it falls with the width",
                [run for arm in PAIR for run in sweep(done, arm, 128)])
    survivors = Block("stability", "who survives which rate", stability("both", "neither"))
    if missing := [arm for arm in ARMS if optimum(done, sweep(done, arm, 64)) is None
                   or arm in PAIR and anchors(done, arm) is None]:
        yield Block("ladder 0", "the gap by size", [], f"the sweeps of {', '.join(missing)}")
        yield survivors                          # which ask for no sweep, while another process ends one
        return
    yield Block("ladder 0", "the gap by size", rungs(done, 0))
    largest = [ladder(done, arm, HELD_OUT) for arm in PAIR]
    yield Block("held out", "does the law foretell a size that it has not seen?", largest,
                "scaling-prediction")
    yield survivors
    yield Block("quantized 0", "what is lost after training?", quantized(done, 0))
    yield from with_sweep(done, CONTROL, "norms", "the norms, or the bits?")
    yield Block("ablations", "which part matters", ablations(done))
    yield from with_sweep(done, "binary", "binary", "the third arm")
    yield Block("ladder 1", "how far seeds differ", rungs(done, 1, SIZES[:4]))
    yield Block("real text", "is it the stories' peculiarity?", real_text(SIZES))
    yield Block("other rate", "is a large model trained at a fair rate?",
                [halved(ladder(done, arm, SIZES[-1])) for arm in PAIR])
    yield Block("ladder 2", "intervals", rungs(done, 2, SIZES[:3]))
    yield Block("quantized", "intervals of what is lost", quantized(done, 1) + quantized(done, 2))
    # from here on the full form
    yield Block("seeds", "intervals at the large sizes",
                [ladder(done, arm, d, seed) for seed, d in ((1, 192), (2, 128), (2, 192)) for arm in PAIR])
    yield Block("largest", "is the held-out size trained at a fair rate? How far do its seeds differ?",
                [*map(halved, largest), *(run._replace(seed=1) for run in largest)], "scaling-prediction")
    yield Block("other arms", "binary and the control at the largest fitted size",
                [ladder(done, arm, SIZES[-1]) for arm in ("binary", CONTROL) if anchors(done, arm)])
    yield Block("guards", "which of the two guards helps", stability("clip", "warm-up"))
    yield Block("large text", "real text at the largest size", real_text((HELD_OUT,)))


def with_sweep(done, arm, name, question):
    """The Blocks of an arm that comes later: its sweep, and its ladder up to width 128."""
    yield Block(f"{name} rates", f"{question} Its best rate", sweep(done, arm, 128))
    if anchors(done, arm) is None:
        yield Block(name, question, [], f"{name} rates")
    else:
        yield Block(name, question, [ladder(done, arm, d) for d in SIZES[:4]])


def ladder(done, arm, d, seed=0):
    """The run of a width at its arm's own rate; None while the sweeps for it are not done."""
    rates, steps = anchors(done, arm), length(done)
    return rates and steps and Run(STORIES, arm, d, rate(rates, d), steps, seed)


def trained(done, arm, widths=WIDTHS):
    """{width: [Run of each seed]} of the ladder, as far as they are there and came to their end."""
    cells = {d: [run for seed in SEEDS if (run := ladder(done, arm, d, seed)) and finished(done, run)]
             for d in widths}
    return {d: runs for d, runs in cells.items() if runs}


def finished(done, run):
    """Is it there, and did its loss stay a number?"""
    return run.name in done and excess(done, run) < math.inf


def by_width(done, arm, widths=WIDTHS):
    """{width: [excess of each seed]} of the ladder."""
    return {d: [excess(done, run) for run in runs] for d, runs in trained(done, arm, widths).items()}


def rungs(done, seed, sizes=SIZES):
    """Both arms of these widths, the smallest first; and full precision at the bytes of a small ternary
    model."""
    return [*(ladder(done, arm, d, seed) for d in sizes for arm in PAIR),
            ladder(done, "float", SMALLEST, seed)]


def quantized(done, seed):
    """Full precision's models of some widths, quantized after training."""
    runs = [ladder(done, "float", d, seed) for d in QUANTIZED_WIDTHS]
    return [run._replace(change=QUANTIZED) for run in runs if run]


def halved(run):
    """The same at half the learning rate."""
    return run._replace(lr=rounded(run.lr / 2))


def ablations(done):
    """The runs of one change each, beside the unchanged ones of three seeds; averages of the weights ride on
    these. What may want another rate is run at a quarter of it as well."""
    def ablated(arm, change, seed, share=1, train=()):
        lr = optimum(done, sweep(done, "float" if arm == CONTROL else arm, ABLATED))
        return Run(STORIES, arm, ABLATED, rounded(lr * share), ABLATION_STEPS, seed, change,
                   tuple((name, lr if value == "lr" else value) for name, value in train))
    bases = {"ternary": "ema", "float": "ema", "binary": ""}
    runs = [ablated(arm, change, seed) for seed in SEEDS for arm, change in bases.items()]
    for seed in ABLATION_SEEDS:
        runs += [ablated(CONTROL, "", seed)]
        runs += [ablated(arm, change, seed, share) for change, (arms, shares) in ABLATIONS.items()
                 for arm in arms for share in shares if share == 1 or seed == 0]
        runs += [ablated(arm, "", seed, train=train) for arm in ("ternary", "float")
                 for train in ((("second_lr", "lr"),), (("schedule", "cosine"),))]
        runs += [ablated("ternary", "", seed, train=(("weight_decay", 0.0),))]
    return runs


def stability(*guards):
    """Short runs at rates up to far too large ones, with some of GUARDS; with one of the two alone, only
    where it matters."""
    return [Run(STORIES, arm, ABLATED, rounded(lr), UNSTABLE_STEPS, 0, train=GUARDS[guard])
            for guard in guards for lr in UNSTABLE[3 * (guard in ("clip", "warm-up")):] for arm in ARMS]


def real_text(sizes):
    """tinyshakespeare in characters, at the library's own rates; binary at the small sizes."""
    return [Run(CHARACTERS, arm, d, rounded(default_lr(arm, d)), CHARACTER_STEPS)
            for d in sizes for arm in ARMS if arm in PAIR or d in SIZES[:4]]


# ---- learning rates

def sweep(done, arm, d):
    """The runs of a sweep: those of RATES, and one more beyond the end that is the best so far. Full
    precision with sub-norms begins at full precision's best rate, and half and twice it."""
    if arm == CONTROL:
        first = ladder(done, "float", d)
        runs = [first._replace(arm=arm, lr=rounded(first.lr * factor)) for factor in (0.5, 1, 2)]
    else:
        runs = [Run(STORIES, arm, d, lr, SWEEP_STEPS[d]) for lr in RATES[d][arm]]
    while all(run.name in done for run in runs):
        best = min(runs, key=lambda run: excess(done, run))
        at = runs.index(best)
        if at == 0:
            runs.insert(0, best._replace(lr=rounded(best.lr / 2)))
        elif at == len(runs) - 1:
            runs.append(best._replace(lr=rounded(best.lr * 2)))
        else:
            break
    return runs


def excess(done, run):
    """Nats a story above the floor; infinite where the run ended early."""
    found = done[run.name].get("excess")
    return math.inf if found is None else found["mean"]


def optimum(done, runs):
    """The rate where the parabola through ln(excess) over ln(rate), at the best of these runs and its two
    neighbours, is lowest; None while one is missing. Between those neighbours, in any case."""
    if not all(run.name in done for run in runs):
        return None
    runs = sorted(runs, key=lambda run: run.lr)
    at = min(range(len(runs)), key=lambda i: excess(done, runs[i]))
    at = min(max(at, 1), len(runs) - 2)
    x, y = zip(*((math.log(run.lr), math.log(min(excess(done, run), 1e9))) for run in runs[at - 1:at + 2]))
    left, right = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])       # slopes at midpoints
    bend = (right - left) / ((x[2] - x[0]) / 2)
    lowest = (x[0] + x[1]) / 2 - left / bend if bend > 0 else min(zip(y, x))[1]
    return rounded(math.exp(min(max(lowest, x[0]), x[2])))


def anchors(done, arm):
    """{64: rate, 128: rate} of an arm's sweeps, or None while one is missing. The control has one at 128
    alone: at 64 its rate is taken to be root 2 times as high."""
    if arm == CONTROL:
        best = optimum(done, sweep(done, arm, 128)) if ladder(done, "float", 128) else None
        return best and {64: rounded(best * math.sqrt(2)), 128: best}
    found = {d: optimum(done, sweep(done, arm, d)) for d in RATES}
    return None if None in found.values() else found


def rate(anchors, d):
    """The rate of a width: that of 64 below it, between the two their geometric mean, above 128 falling with
    the root of the width."""
    if d <= 64:
        return anchors[64]
    return rounded(math.sqrt(anchors[64] * anchors[128]) if d < 128 else anchors[128] * math.sqrt(128 / d))


def rounded(lr):
    """To three digits: a rate that can be typed."""
    return float(f"{lr:.3g}")


def length(done):
    """Steps of a run of the ladder: half as many again as the later arm of width 128 takes to 30 nats a
    story, in steps of 500; so that no arm is compared while it still falls steeply. None while that is not
    known."""
    later = 0
    for arm in PAIR:
        if optimum(done, sweep(done, arm, 128)) is None:
            return None
        best = min(sweep(done, arm, 128), key=lambda run: excess(done, run))
        later = max(later, drop(done[best.name]) or STEPS)
    return max(STEPS, 500 * math.ceil(1.5 * later / 500))


def drop(outcome):
    """The first step at which the mean training loss is below DROP; None where it never is."""
    return next((step for step, loss in zip(outcome["series"]["step"], outcome["series"]["loss"])
                 if loss < DROP), None)
