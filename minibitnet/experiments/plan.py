"""Which models are trained for the papers' trained rows, in which order, and at which rates: runs as data.

A block answers one question; a run whose learning rate another block decides waits for it. ``blocks`` is a
pure function of the results that are there, so whoever has the same results goes on in the same way.

Stories: rows of 288 tokens, so that no story is cut and the excess over the floor is exact story by story;
every story once, so that the training loss is one of stories that the model has not seen. All sizes and
arms of a seed read the same rows in the same order: their differences are paired. Depth and heads are fixed,
width is the only thing that grows.
"""
import math
from typing import NamedTuple

from ..nn.training import default_lr

ARMS = "ternary", "float", "binary"
CONTROL = "float_subln"               # full precision with BitNet's two sub-norms: the norms, or the bits?
STORIES, CHARACTERS = "stories", "tinyshakespeare"
SIZES, HELD_OUT, SMALLEST = (48, 64, 96, 128, 192), 320, 32
LAYERS, HEADS = 4, 4
RECIPES = {                           # of a text: fields of ModelConfig and of TrainConfig
    STORIES: ({"context": 288}, {"batch": 4, "tokenizer": "bpe:512"}),
    CHARACTERS: ({"context": 64}, {"batch": 12, "tokenizer": "char"}),
}
STEPS, SWEEP_STEPS, CHARACTER_STEPS = 4500, 3000, 2000
RATES = {                             # of a sweep, seed 0; it goes on outward while its best is at an end
    64: {"ternary": (8e-3, 1.6e-2, 3.2e-2), "float": (8e-3, 1.6e-2, 3.2e-2),
         "binary": (4e-3, 8e-3, 1.6e-2, 3.2e-2)},
    128: {"ternary": (2e-3, 4e-3, 8e-3), "float": (1.25e-3, 2.5e-3, 5e-3), "binary": (2e-3, 6e-3)},
}
ABLATED, ABLATION_SEEDS = 64, (0, 1)
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
DROP = 0.356                          # nats a token, 30 a story: below, a model remembers who and whose


class Run(NamedTuple):
    """One training run. train: further fields of TrainConfig, as pairs; questions: does it answer the story
    questions at its end?"""
    text: str
    arm: str
    d: int
    lr: float
    steps: int
    seed: int = 0
    change: str = ""                  # of the model or the loop, one of an ablation's
    train: tuple = ()
    questions: bool = False

    @property
    def name(self):
        """Of its file: what differs between runs."""
        options = "".join(f"-{name}{value:g}" if not isinstance(value, str) else f"-{value}"
                          for name, value in self.train)
        change = f"-{self.change}" * bool(self.change)
        return f"{self.text}-{self.arm}-{self.d}-lr{self.lr:g}-{self.steps}{change}{options}-{self.seed}"

    @property
    def matrices(self):
        """N, the numbers in the projections: the same in every arm."""
        return LAYERS * (4 * self.d**2 + 3 * self.d * (11 * self.d // 4))


class Block(NamedTuple):
    """Runs that answer one question, and what they wait for ("" where they can all be named)."""
    name: str
    question: str
    runs: list
    waits: str = ""


def blocks(done):
    """{name of a run: its outcome} -> the Blocks in order. Those that wait name the runs that they can."""
    sweeps = {d: [run for arm in rates for run in sweep(done, arm, d)] for d, rates in RATES.items()}
    yield Block("sweep 64", "each arm's best rate where the model is small", sweeps[64])
    yield Block("sweep 128", "and how it falls with the width", sweeps[128])
    rates = {arm: anchors(done, arm) for arm in ARMS}
    if missing := [arm for arm, found in rates.items() if found is None]:
        yield Block("ladder 0", "the gap by size", [], f"the sweeps of {', '.join(missing)}")
        return
    steps = length(done)

    def ladder(arm, d, seed, lr=None):
        return Run(STORIES, arm, d, lr or rate(rates[arm], d), steps, seed, questions=True)

    def rungs(seed, sizes=SIZES):
        pairs = [ladder(arm, d, seed) for d in reversed(sizes) for arm in ("ternary", "float")]
        return [*pairs, ladder("float", SMALLEST, seed)]
    yield Block("ladder 0", "the gap by size", rungs(0))
    yield Block("held out", "does the law foretell a size that it has not seen?",
                [ladder(arm, HELD_OUT, 0) for arm in ("ternary", "float")], "scaling-prediction")
    yield Block("binary", "the third arm", [ladder("binary", d, 0) for d in reversed(SIZES)])
    yield from control(done, rates["float"], steps)
    yield Block("ladder 1", "how far seeds differ", rungs(1))
    yield Block("other rate", "is the held-out size trained at a fair rate?",
                [ladder(arm, HELD_OUT, 0, rounded(rate(rates[arm], HELD_OUT) / 2))
                 for arm in ("ternary", "float")], "scaling-prediction")
    yield Block("ablations", "which part matters", ablations(rates))
    yield Block("stability", "who survives which rate", stability())
    yield Block("real text", "is it the stories' peculiarity?", real_text())
    yield Block("ladder 2", "intervals", rungs(2))


def control(done, rates, steps):
    """The Block of full precision with sub-norms: float's rate at d 128 with half and twice it, then a
    ladder at its own best."""
    middle = rates[128]
    tries = [Run(STORIES, CONTROL, 128, rounded(middle * factor), steps, questions=True)
             for factor in (1, 0.5, 2)]
    best = optimum(done, tries)
    if best is None:
        return [Block("control", "the norms, or the bits?", tries, "its rates at width 128")]
    rest = [Run(STORIES, CONTROL, d, rate({64: best * math.sqrt(2), 128: best}, d), steps, questions=True)
            for d in reversed(SIZES)]
    return [Block("control", "the norms, or the bits?", list(dict.fromkeys([*tries, *rest])))]


def ablations(rates):
    """The runs of one change each, beside the unchanged ones of three seeds; averages of the weights ride on
    these. What may want another rate is run at a quarter of it as well."""
    def ablated(arm, change, seed, share=1, train=()):
        lr = rates["float" if arm == CONTROL else arm][ABLATED]
        return Run(STORIES, arm, ABLATED, rounded(lr * share), SWEEP_STEPS, seed, change,
                   tuple((name, lr if value == "lr" else value) for name, value in train))
    bases = {"ternary": "ema", "float": "ema", "binary": ""}
    runs = [ablated(arm, change, seed) for seed in (0, 1, 2) for arm, change in bases.items()]
    for seed in ABLATION_SEEDS:
        runs += [ablated(CONTROL, "", seed)]
        runs += [ablated(arm, change, seed, share) for change, (arms, shares) in ABLATIONS.items()
                 for arm in arms for share in shares if share == 1 or seed == 0]
        runs += [ablated(arm, "", seed, train=train) for arm in ("ternary", "float")
                 for train in ((("second_lr", "lr"),), (("schedule", "cosine"),))]
        runs += [ablated("ternary", "", seed, train=(("weight_decay", 0.0),))]
    return runs


def stability():
    """Short runs at rates up to far too large ones, with and without what usually guards against them."""
    return [Run(STORIES, arm, ABLATED, rounded(lr), UNSTABLE_STEPS, 0, train=train)
            for guard, train in GUARDS.items() for lr in UNSTABLE[3 * (guard in ("clip", "warm-up")):]
            for arm in ARMS]


def real_text():
    """tinyshakespeare in characters, at the library's own rates."""
    sizes = {"ternary": (*SIZES, HELD_OUT), "float": (*SIZES, HELD_OUT), "binary": SIZES[:4]}
    return [Run(CHARACTERS, arm, d, rounded(default_lr(arm, d)), CHARACTER_STEPS)
            for arm in ARMS for d in reversed(sizes[arm])]


# ---- learning rates

def sweep(done, arm, d):
    """The runs of a sweep: those of RATES, and one more beyond the end that is the best so far."""
    steps = SWEEP_STEPS if d == 64 else STEPS
    runs = [Run(STORIES, arm, d, lr, steps) for lr in RATES[d][arm]]
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
    """{64: rate, 128: rate} of an arm's sweeps, or None while one is missing."""
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
    story, by hundreds of 5; so that no arm is compared while it still falls steeply."""
    later = 0
    for arm in ("ternary", "float"):
        best = min(sweep(done, arm, 128), key=lambda run: excess(done, run))
        later = max(later, drop(done[best.name]) or STEPS)
    return max(STEPS, 500 * math.ceil(1.5 * later / 500))


def drop(outcome):
    """The first step at which the mean training loss is below DROP; None where it never is."""
    return next((step for step, loss in zip(outcome["series"]["step"], outcome["series"]["loss"])
                 if loss < DROP), None)
