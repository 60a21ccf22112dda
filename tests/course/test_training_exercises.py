"""The exercises of notebook 06: the published solution is right under every seed, and each mistake that
people make is told by the property that it breaks."""
import math
from itertools import chain

import numpy as np
import pytest
from solutions import solution

from minibitnet.course.exercise import UNSOLVED, graded
from minibitnet.course.training import EXERCISES, PETS, entropy_of
from minibitnet.stories import entropy, pets, walk

STEM = "06_training"
SEEDS = range(3)


# ---- wrong answers: {exercise: {what is wrong: (a function, a piece of the sentence that says so)}}

def surprisals(weights, log=math.log):
    """(p, -log p) of the options that can be taken."""
    return [(w / sum(weights), log(sum(weights) / w)) for w in weights if w]


def with_numpy(weights):
    p = np.array(weights) / sum(weights)
    return float(-(p * np.log(p)).sum())


def guarded(weights):
    p = np.array(weights) / sum(weights)
    return float(-(p * np.log(p + 0.01)).sum())


def walked(tree, draw=lambda n, taken: math.log(n - taken), copy=lambda: 0.0, text=lambda: 0.0,
           choose=lambda p, nats, inner: sum(q * (s + i) for q, s, i in zip(p, nats, inner))):
    """floor_of with one thing changed; choose: of the options' chances, surprisals and own floors."""
    nats = 0.0
    for element in tree:
        if isinstance(element, str):
            nats += text()
        elif element[0] == "copy":
            nats += copy()
        elif element[0] == "draw":
            nats += draw(*element[1:])
        else:
            weights = [weight for weight, _ in element[1]]
            inner = [walked(option, draw, copy, text, choose) for _, option in element[1]]
            nats += choose(*zip(*surprisals(weights)), inner)
    return nats


def changed(**how):
    return lambda tree: walked(tree, **how)


def equally_likely(p, nats, inner):
    return math.log(len(p)) + sum(inner) / len(inner)


def of_prefixes(change):
    """cost_by_character of another list of what the beginnings cost, and the text."""
    def costs(text, prefix_nats):
        return change([prefix_nats(text[:i]) for i in range(len(text) + 1)], text)
    return costs


def differences(so_far):
    return [b - a for a, b in zip(so_far, so_far[1:])]


def late(so_far, text):
    """Paid by the last letter of each word."""
    costs, held = [], 0.0
    for cost, after in zip(differences(so_far), text[1:] + " "):
        held += cost
        costs.append(held if after in " ." else 0.0)
        held -= costs[-1]
    return [*costs[:-1], costs[-1] + held]


def early(so_far, text):
    """The whole word paid by its first letter."""
    costs, open_at = differences(so_far), 0
    for i, letter in enumerate(text):
        if letter in " .":
            open_at = i
        elif open_at < i:
            start = open_at + (text[open_at] in " .")
            cost, costs[i] = costs[i], 0.0
            costs[start] += cost
    return costs


def flips(before, after):
    return sum(int(np.count_nonzero(a != b)) for a, b in zip(after, before))


def size(codes):
    return sum(each.size for each in codes)


def two_lines(rise=lambda step, warmup, peak: peak * (step + 1) / warmup,
              warm=lambda step, steps, warmup: step < warmup,
              half=lambda step, steps, warmup: step >= steps // 2,
              fall=lambda step, steps, warmup, height, second: height * (1 - step / steps)):
    """my_two_stage with one thing changed."""
    def rate(step, steps, warmup, peak, second):
        if warm(step, steps, warmup):
            return rise(step, warmup, peak)
        lower = half(step, steps, warmup)
        return fall(step, steps, warmup, second if lower else peak, lower)
    return rate


def after_warmup(step, steps, warmup, height, lower):
    return height * (1 - (step - warmup) / (steps - warmup))


def from_half_time(step, steps, warmup, height, lower):
    return height * ((steps - step) / (steps - steps // 2) if lower else 1 - step / steps)


WRONG = {
    "entropy_of": {
        "the sign": (lambda w: -sum(p * s for p, s in surprisals(w)), "costs less than nothing"),
        "one at least": (lambda w: 1 + sum(p * s for p, s in surprisals(w)), "in a long row"),
        "weights for chances": (lambda w: sum(v * math.log(v + 1) for v in w) * (np.count_nonzero(w) > 1),
                                "ten times"),
        "0 log 0": (with_numpy, "and a number"),
        "a little is added to each chance": (guarded, "one coin more"),
        "zeros are counted": (lambda w: math.log(len(w)) * (np.count_nonzero(w) > 1), "never taken"),
        "bits": (lambda w: sum(p * s for p, s in surprisals(w, math.log2)), "in nats"),
        "no chances in the sum": (lambda w: sum(s for _, s in surprisals(w)), "one coin more"),
        "all equally likely": (lambda w: math.log(np.count_nonzero(w)), "as its weight says"),
        "the likeliest alone": (lambda w: min(s for _, s in surprisals(w)), "as its weight says"),
    },
    "floor_of": {
        "a copy is a draw": (changed(copy=lambda: math.log(8)), "cost nothing"),
        "a text costs its one way": (changed(text=lambda: 1.0), "cost nothing"),
        "what was said already can be said again": (changed(draw=lambda n, taken: math.log(n)),
                                                    "words that are left"),
        "bits for draws": (changed(draw=lambda n, taken: math.log2(n - taken)), "words that are left"),
        "the choice itself is forgotten": (changed(choose=lambda p, nats, inner: sum(
            q * i for q, i in zip(p, inner))), "is not free"),
        "options are added": (changed(choose=lambda p, nats, inner: sum(
            q * s for q, s in zip(p, nats)) + sum(inner)), "only one option"),
        "their surprisals are added": (changed(choose=lambda p, nats, inner: sum(nats) + sum(
            q * i for q, i in zip(p, inner))), "only one option"),
        "all options equally likely": (changed(choose=equally_likely), "by its probability"),
        "the costliest option": (changed(choose=lambda p, nats, inner: sum(
            q * s for q, s in zip(p, nats)) + max(inner)), "only one option"),
        "weights for the choice alone": (changed(choose=lambda p, nats, inner: sum(
            q * s for q, s in zip(p, nats)) + sum(inner) / len(inner)), "by its probability"),
        "the first option stands for all": (changed(choose=lambda p, nats, inner: nats[0] + inner[0]),
                                            "by its probability"),
    },
    "cost_by_character": {
        "the sums so far": (of_prefixes(lambda so_far, text: so_far[1:]), "what the whole text costs"),
        "one too many": (of_prefixes(lambda so_far, text: so_far), "for every character"),
        "the last letter is left out": (of_prefixes(lambda so_far, text: differences(so_far)[:-1]),
                                        "for every character"),
        "the other way round": (of_prefixes(lambda so_far, text: [-c for c in differences(so_far)]),
                                "paid back"),
        "spread and taken back": (of_prefixes(lambda so_far, text: [
            cost + 0.1 * (-1)**i for i, cost in enumerate(differences(so_far))]), "paid back"),
        "bits": (of_prefixes(lambda so_far, text: [c / math.log(2) for c in differences(so_far)]), "in nats"),
        "the first letter is free": (of_prefixes(lambda so_far, text: [0.0, *differences(so_far)[1:]]),
                                     "in nats"),
        "the same for each letter": (of_prefixes(lambda so_far, text: [so_far[-1] / len(text)] * len(text)),
                                     "not before"),
        "paid when the word is complete": (of_prefixes(late), "not later"),
        "paid when the word begins": (of_prefixes(early), "not before"),
        "shifted by one": (of_prefixes(lambda so_far, text: [0.0, *differences(so_far)[:-2],
                                                             so_far[-1] - so_far[-3]]), "not later"),
    },
    "flip_rate": {
        "percent": (lambda b, a: 100 * flips(b, a) / size(b), "a share"),
        "those that stayed": (lambda b, a: 1 - flips(b, a) / size(b), "nothing flipped is 0"),
        "the mean of the matrices' shares": (lambda b, a: float(np.mean([
            (p != q).mean() for p, q in zip(b, a)])), "counts alike"),
        "the first matrix alone": (lambda b, a: float((b[0] != a[0]).mean()), "counts alike"),
        "by how far": (lambda b, a: min(1.0, sum(float(np.abs(p - q).sum()) for p, q in zip(b, a)) / size(b)),
                       "a flip is a flip"),
        "of the codes that are not 0": (lambda b, a: min(1.0, sum(int(np.count_nonzero((p != q) & (p != 0)))
                                                                  for p, q in zip(b, a)) / size(b)),
                                        "all codes, zeros too"),
        "a share of the others": (lambda b, a: flips(b, a) / max(1, sum(map(np.count_nonzero, b)),
                                                                 flips(b, a)), "all codes, zeros too"),
        "to and from 0 alone": (lambda b, a: sum(int(np.count_nonzero((p == 0) != (q == 0)))
                                                 for p, q in zip(b, a)) / size(b), "a flip is a flip"),
        "in each direction": (lambda b, a: flips(b, a) / 2 / size(b), "all codes, zeros too"),
    },
    "my_two_stage": {
        "step 0 stands still": (two_lines(rise=lambda step, warmup, peak: peak * step / warmup),
                                "even step 0"),
        "warm-up overshoots": (two_lines(rise=lambda step, warmup, peak: 2 * peak * (step + 1) / warmup),
                               "above peak"),
        "warm-up ends a step late": (two_lines(rise=lambda step, warmup, peak:
                                               peak * (step + 1) / (warmup + 1)), "in the last of them"),
        "no warm-up": (two_lines(warm=lambda *_: False), "the same amount"),
        "half time ends the warm-up": (two_lines(warm=lambda step, steps, warmup:
                                                 step < min(warmup, steps // 2)), "whatever half time says"),
        "the lines begin after warm-up": (two_lines(fall=after_warmup), "back to step 0"),
        "it falls to a tenth": (two_lines(fall=lambda step, steps, warmup, height, lower:
                                          height * (1 - 0.9 * step / steps)), "in proportion"),
        "0 in the last step already": (two_lines(fall=lambda step, steps, warmup, height, lower:
                                                 height * (1 - step / (steps - 1))), "in proportion"),
        "the second half begins at second": (two_lines(fall=from_half_time), "back to step 0"),
        "no drop": (two_lines(half=lambda *_: False), "one drop"),
        "half time one step late": (two_lines(half=lambda step, steps, warmup: step > steps // 2),
                                    "one drop"),
        "half of what is left after warm-up": (two_lines(half=lambda step, steps, warmup:
                                                         step >= warmup + (steps - warmup) // 2), "one drop"),
        "second is a share of peak": (two_lines(fall=lambda step, steps, warmup, height, lower:
                                                (height * height if lower else height) * (1 - step / steps)),
                                      "back to step 0"),
    },
}
CASES = [(name, what) for name, wrong in WRONG.items() for what in wrong]


def sentence(holds):
    return " ".join(holds.__doc__.split())


# ---- every exercise

def test_every_exercise_has_five_wrong_answers_at_least():
    assert set(WRONG) == set(EXERCISES) and min(map(len, WRONG.values())) >= 5


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_right(name, seed):
    report = graded(name, EXERCISES[name], solution(STEM, name), seed)
    assert report.right and report.of >= 5, report


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name, what", CASES)
def test_a_wrong_answer_is_rejected_by_the_property_that_it_breaks(name, what, seed):
    fn, piece = WRONG[name][what]
    report = graded(name, EXERCISES[name], fn, seed)
    said = report.problem.partition("violated")[2]
    assert not report.right and piece in said, report


@pytest.mark.parametrize("name", EXERCISES)
def test_every_property_rejects_some_wrong_answer(name):
    for holds in EXERCISES[name].properties:
        told = [fn for fn, _ in WRONG[name].values()
                if sentence(holds) in graded(name, EXERCISES[name], fn).problem]
        assert told, sentence(holds)


@pytest.mark.parametrize("name", EXERCISES)
def test_a_stub_is_not_solved_yet(name):
    assert UNSOLVED in str(graded(name, EXERCISES[name], lambda *given: None))


# ---- the checkers' own ways

def test_the_tree_of_pets_has_the_entropy_of_pets():
    assert entropy_of(PETS) == pytest.approx(entropy.expected(pets.LANGUAGE).nats)
    assert solution(STEM, "floor_of")(PETS) == pytest.approx(entropy.expected(pets.LANGUAGE).nats)


def test_the_cost_of_a_story_by_pencil():
    """J: ln 8; the space after "a": ln 4/3; d: ln 3; f: ln 4/3; b: ln 4. All else is free."""
    text = walk.tell(walk.Dice(0, 0), pets.LANGUAGE).text
    costs = solution(STEM, "cost_by_character")(text, lambda begin: entropy.prefix_nats(begin, pets.LANGUAGE))
    paid = {i: cost for i, cost in enumerate(costs) if cost > 1e-9}
    assert [text[i] for i in paid] == list("J dfb")
    assert list(paid.values()) == pytest.approx([math.log(n) for n in (8, 4 / 3, 3, 4 / 3, 4)])


# ---- the pictures

def test_the_letters_of_the_picture_add_up_to_the_story():
    pictures = pytest.importorskip("minibitnet.course.training_pictures")
    text = walk.tell(walk.Dice(0, 3), pets.LANGUAGE).text
    costs = pictures.source_costs(text, pets.LANGUAGE)
    assert costs.sum() == pytest.approx(entropy.of_document(text, pets.LANGUAGE)) and (costs > -1e-9).all()


def test_every_picture_has_a_label_at_each_axis():
    pytest.importorskip("matplotlib")
    from minibitnet.course import training_pictures as pictures
    text, steps = walk.tell(walk.Dice(0, 3), pets.LANGUAGE).text, np.arange(10, 60, 10)
    costs, falling = pictures.source_costs(text, pets.LANGUAGE), np.linspace(20.0, 6, 5)
    drawn = [pictures.story_costs(text, pets.LANGUAGE),
             pictures.along(text, {"the language": costs, "the model": costs + 0.01}),
             pictures.by_heart((steps, falling), (steps, falling), 5.4, 3.4),
             pictures.schedule([0.1, 0.2, 0.1], [0.1, 0.1, 0]),
             pictures.schedules({"a": (steps, falling, np.full(50, 0.01))}, 5.4),
             pictures.long_run((steps, falling), (steps, falling), 0.2, {"all": 6.2}, 30)]
    for axes in chain.from_iterable(figure.axes for figure in drawn):
        assert axes.get_ylabel() and (axes.get_xlabel() or axes.get_xticklabels())
    for figure in drawn:
        assert len(figure._repr_png_()) < 100_000
