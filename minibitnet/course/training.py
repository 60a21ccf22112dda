"""The exercises of notebook 06: what a choice costs, what a grammar costs, the schedule, and flips."""
import math
from itertools import product

import numpy as np

from ..stories import entropy as of_source
from ..stories import pets, walk
from ..stories.building import build
from .exercise import Exercise, answers


def equal(a, b):
    """Equal but for rounding."""
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)


# ---- what a choice costs

def weights_of_choices(rng):
    """Weights, a list: equal, unequal, a single one, some of them 0."""
    for weights in ([1, 1, 1, 1], [3, 1], [5], [0, 2, 2], [1, 0, 6]):
        yield (weights,)
    for n in (3, 5, 7):
        yield ((rng.integers(9, n) + 1).tolist(),)


def with_others(fn, weights):
    """Of the weights; of ten times as much; with an option that is never taken; and beside a coin."""
    return answers(fn, (weights,), ([10 * w for w in weights],), ([*weights, 0],),
                   ([w for w in weights for _ in range(2)],))


def not_below_zero(weights, answer):
    "no choice costs less than nothing on average, and one that is sure costs nothing"
    sure = np.count_nonzero(weights) == 1
    return answer.first > -1e-12 and (not sure or abs(answer.first) < 1e-12)


def shares_count(weights, answer):
    "if all weights are ten times as large, nothing has changed"
    return equal(answer.first, answer.others[0])


def never_taken(weights, answer):
    "an option of weight 0 is never taken: with one more of these the answer is the same, and a number"
    return equal(answer.first, answer.others[1])


def coin_added(weights, answer):
    """with a fair coin beside it, so that each option comes as heads and as tails, the choice costs one coin
    more, in nats"""
    return equal(answer.others[2], answer.first + math.log(2))


def mean_over_draws(weights, answer):
    """it is the mean of the surprisals in a long row of draws, in which each option comes as often as its
    weight says"""
    row = [w for w in weights for _ in range(w)]
    return equal(answer.first, sum(math.log(sum(weights) / w) for w in row) / len(row))


# ---- what a grammar costs

PETS = [("draw", 8, 0), " has ", ("draw", 4, 0), ". ", ("choose", [(3, ["feeds"]), (1, ["hides"])]), " it. ",
        ("copy",), " is ", ("draw", 4, 0), ". ", ("copy",), " likes ", ("copy",), "."]


def trees(rng):
    """Small grammars: copies, draws and choices alone, pets, random ones."""
    yield (["Hello. ", ("copy",)],)
    yield ([("draw", 8, 0), " met ", ("draw", 8, 1)],)
    yield ([("choose", [(1, ["yes"]), (1, ["no"])])],)
    yield ([("choose", [(1, ["a ", ("draw", 8, 0)]), (1, ["the ", ("draw", 8, 0)])])],)
    yield (PETS,)
    for _ in range(3):
        yield ([*grown(rng, 2), *grown(rng, 2)],)


def grown(rng, depth):
    """A random tree."""
    n = int(rng.integers(5, 1)[0]) + 3
    options = [(int(w) + 1, grown(rng, depth - 1)) for w in rng.integers(5, 2 + depth)] if depth else []
    return [("draw", n, int(rng.integers(2, 1)[0])), "and ", ("copy",),
            *([("choose", options)] if options else [])]


def and_copies(fn, tree):
    """Of the tree; of the tree with a copy and a text at its end."""
    return answers(fn, (tree,), ([*tree, ("copy",), " again."],))


def texts_of(tree):
    """-log p of everything that a tree can tell, one by one."""
    parts = []
    for element in tree:
        if element[0] == "draw":
            n = element[1] - element[2]
            parts.append([math.log(n)] * n)
        elif element[0] == "choose":
            total = sum(weight for weight, _ in element[1])
            parts.append([math.log(total / weight) + nats for weight, option in element[1]
                          for nats in texts_of(option)])
    return [math.fsum(nats) for nats in product(*parts)]


def entropy_of(tree):
    """The mean of those, part by part, for they are many."""
    nats = 0.0
    for element in tree:
        if element[0] in ("draw", "choose"):
            nats += math.fsum(n * math.exp(-n) for n in texts_of([element]))
    return nats


def copies_are_free(tree, answer):
    "text that is always the same, and copies of what was said, cost nothing"
    still = has(tree, "draw", "choose") or abs(answer.first) < 1e-12
    return still and equal(answer.first, answer.others[0])


def has(tree, *kinds):
    """Is there an element of one of these kinds?"""
    return any(element[0] in kinds for element in tree)


def from_those_left(tree, answer):
    """where words are drawn and nothing else is chosen: a draw takes one of the words that are left, each as
    likely as the others, and costs the surprisal of that in nats"""
    return has(tree, "choose") or equal(answer.first, entropy_of(tree))


def choice_costs(tree, answer):
    "to choose between two texts that cost nothing themselves is not free"
    return tree[0][0] != "choose" or has(tree[0][1][0][1], "draw") or answer.first > 0


def not_above_all(tree, answer):
    """only one option is taken: nothing costs more on average than the logarithm of how many different texts
    there are"""
    return answer.first <= math.fsum(math.log(len(texts_of([element]))) for element in tree) + 1e-9


def mean_of_all(tree, answer):
    """it is the mean of -log p over all that the tree can tell, where each text counts by its probability:
    options of larger weight more often"""
    return equal(answer.first, entropy_of(tree))


# ---- costs, letter by letter

SAW = build("""
story:
    {hero=people} saw [5*nothing|some {first=things}[.| and {second=things}.]] today
""", {"people": {"name": ("Ann", "Andy", "Bo")}, "things": {"name": ("cats", "cars", "cows", "dogs")}})


def of_pets(text):
    """-log p of a beginning, by the source of pets."""
    return of_source.prefix_nats(text, pets.LANGUAGE)


def of_saw(text):
    """-log p of a beginning, by SAW."""
    return of_source.prefix_nats(text, SAW)


def stories_and_sources(rng):
    """A text, and what its source says of any beginning."""
    yield "Eva has an owl. She hides it. The owl is green. Eva likes green.", of_pets
    yield "Andy saw some cars and cats. today", of_saw
    for prefix_nats, language in ((of_pets, pets.LANGUAGE), (of_saw, SAW)):
        for number in rng.integers(1000, 2).tolist():
            yield walk.tell(walk.Dice(number), language).text, prefix_nats


def one_for_each(text, prefix_nats, answer):
    "there is one cost for every character of the text, and nothing else"
    return np.shape(answer) == (len(text),)


def none_negative(text, prefix_nats, answer):
    "to read on is never paid back: no cost is below 0"
    return min(answer) > -1e-9


def adds_up(text, prefix_nats, answer):
    "all costs together are what the whole text costs, in nats"
    return equal(math.fsum(answer), prefix_nats(text))


def paid_when_read(text, prefix_nats, answer):
    """after every character the costs so far are those of the text so far: not before a character is read,
    and not later, when the word is complete"""
    return np.allclose(np.cumsum(answer), [prefix_nats(text[:i + 1]) for i in range(len(text))], atol=1e-9)


# ---- the schedule

def schedules(rng):
    """All steps, how many, warm-up, and both peaks."""
    yield list(range(8)), 8, 2, 1.0, 0.25
    yield list(range(21)), 21, 3, 0.5, 0.25
    yield list(range(20)), 20, 14, 1.0, 0.75
    for steps in (rng.integers(60, 3) + 40).tolist():
        peak = 0.001 + 0.01 * rng.random()
        yield list(range(steps)), steps, steps // 10, peak, peak * (0.3 + 0.5 * rng.random())


def at_every_step(fn, step, steps, warmup, peak, second):
    """The rates of all steps; None where one has none."""
    rates = [fn(s, steps, warmup, peak, second) for s in step]
    return None if None in rates else np.array(rates, float)


def moves_at_once(step, steps, warmup, peak, second, rates):
    "even step 0 moves the weights, and no step has a rate below 0 or above peak"
    return rates[0] > 0 and (rates >= 0).all() and (rates <= peak + 1e-12).all()


def warms_up(step, steps, warmup, peak, second, rates):
    """warm-up is the first `warmup` steps, whatever half time says: the rate rises by the same amount at each
    and is at its peak in the last of them"""
    rise = np.diff(rates[:warmup], prepend=0)
    return np.allclose(rise, rise[0]) and equal(rates[warmup - 1], peak)


def heads_for_zero(step, steps, warmup, peak, second, rates):
    """after warm-up, whichever half it is: the line through it, drawn on in both directions, is 0 at step
    `steps` and not sooner; so the rate is in proportion to the steps that are left"""
    heights = np.round(rates[warmup:] / (1 - np.arange(warmup, steps) / steps), 12)
    return len(set(heights)) <= 2


def drops_once(step, steps, warmup, peak, second, rates):
    """there is one drop, and it is at half time: of an even number of steps as many are before it as after
    it, of an odd one the step in the middle is after it"""
    heights = np.round(rates[warmup:] / (1 - np.arange(warmup, steps) / steps), 12)
    lower = np.flatnonzero(heights < heights[0] - 1e-9)
    half = steps // 2
    return warmup > half or len(lower) == steps - half and lower[0] == half - warmup


def heights_of_lines(step, steps, warmup, peak, second, rates):
    """peak and second are the heights of the two lines drawn back to step 0, not of the places where their
    halves begin"""
    height = rates / (1 - np.arange(steps) / steps)
    half = steps // 2
    return (warmup >= half or equal(height[half - 1], peak)) and equal(height[-1], second)


# ---- flips

def codes_before_and_after(rng):
    """Two lists of matrices of codes."""
    yield [np.int8([[1, 0, -1]])], [np.int8([[1, 0, -1]])]
    yield [np.int8([[1, 0], [-1, 1]])], [np.int8([[1, 0], [1, 0]])]
    yield [np.int8([[1]]), np.zeros((3, 3), np.int8)], [np.int8([[-1]]), np.zeros((3, 3), np.int8)]
    for shapes in (((3, 5), (7, 2), (1, 1)), ((4, 9),), ((2, 2), (11, 6))):
        before = [(rng.integers(3, n * m).reshape(n, m) - 1).astype(np.int8) for n, m in shapes]
        moved = [(rng.integers(3, n * m).reshape(n, m) - 1).astype(np.int8) for n, m in shapes]
        which = [rng.random(n * m).reshape(n, m) < 0.3 for n, m in shapes]
        yield before, [np.where(w, a, b) for w, a, b in zip(which, moved, before)]


def flip_answers(fn, before, after):
    """As they are; all codes in one long row; each flip by one step of the clock -1, 0, +1, -1."""
    rows = [[np.concatenate([codes.ravel() for codes in part])[None]] for part in (before, after)]
    near = [np.where(b != a, np.where(b == 0, 1, 0), b).astype(np.int8) for b, a in zip(before, after)]
    return answers(fn, (before, after), tuple(rows), (before, near))


def a_share(before, after, answer):
    "it is a share: nothing flipped is 0, everything flipped would be 1"
    still = all(map(np.array_equal, before, after))
    return 0 <= answer.first <= 1 and (answer.first == 0 or not still)


def each_code_once(before, after, answer):
    "every code counts alike: the same codes in one long row have the same rate as in matrices of all sizes"
    return equal(answer.first, answer.others[0])


def distance_is_nothing(before, after, answer):
    "a flip is a flip: from -1 to +1 counts as much as from 0 to +1"
    return equal(answer.first, answer.others[1])


def of_all_codes(before, after, answer):
    "it is a share of all codes, zeros too: times their number it is how many have changed"
    size = sum(codes.size for codes in before)
    return equal(answer.first * size, sum(int(np.count_nonzero(a != b)) for a, b in zip(after, before)))


EXERCISES = {
    "entropy_of": Exercise("weights, whole numbers from 0 -> nats", weights_of_choices, (
        not_below_zero, shares_count, never_taken, coin_added, mean_over_draws), with_others),
    "floor_of": Exercise("tree, a list of text, ('copy',), ('draw', n, taken), ('choose', [(weight, tree), "
                         "...]) -> nats", trees, (
        copies_are_free, from_those_left, choice_costs, not_above_all, mean_of_all), and_copies),
    "cost_by_character": Exercise("text, prefix_nats (text -> nats) -> a list, nats of each character",
                                  stories_and_sources,
                                  (one_for_each, none_negative, adds_up, paid_when_read)),
    "flip_rate": Exercise("before, after, lists of matrices of codes -> a share", codes_before_and_after, (
        a_share, each_code_once, distance_is_nothing, of_all_codes), flip_answers),
    "my_two_stage": Exercise("step, steps, warmup, peak, second -> rate", schedules, (
        moves_at_once, warms_up, heads_for_zero, drops_once, heights_of_lines), at_every_step),
}
