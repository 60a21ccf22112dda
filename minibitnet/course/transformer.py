"""The exercises of notebook 05: a norm, a rotation, attention in one head, shared heads, a cache."""
import copy
from typing import NamedTuple

import numpy as np

from ..looking import probabilities
from ..nn import ops
from .exercise import Exercise, shown


# ---- rms_norm: every token at size 1

def columns_and_gains(rng):
    """x (C, B, T), gain (C,), eps: with a token that points backwards and is louder, with and without
    gains."""
    yield np.array([[[1.0, -3.0]], [[7.0, -21.0]]]), np.ones(2), 1e-6
    for C, B, T in ((5, 2, 3), (8, 1, 4), (3, 4, 2)):
        x = rng.standard_normal((C, B, T)) + 0.5
        x[:, :, 1] = -3 * x[:, :, 0]             # the same direction, backwards and three times as loud
        yield x, np.ones(C), 1e-6
        yield x, 0.5 + 2 * rng.random(C), 1e-6
    x = rng.standard_normal((7, 3, 5))
    x[:, 0, 0] = 0
    x[:, 1, 2] *= 1e-4
    yield x, np.ones(7), 1e-6


def plain(x, gain):                              # gains of 1, and no token that is almost nothing
    """Are all gains 1, and no token almost nothing?"""
    return (gain == 1).all() and not quiet(x)


def quiet(x):
    """Is a token almost nothing?"""
    return (np.square(x).mean(0) < 1e-6).any()


def like_x(x, gain, eps, answer):
    "a number for each that came in: the answer has x's shape"
    return np.shape(answer) == x.shape


def each_by_itself(x, gain, eps, answer):
    """a token is measured by itself: of two in one sequence that have the same direction, one of them three
    times as loud and backwards, one comes out as the other's negative"""
    return quiet(x) or np.allclose(answer[:, :, 1], -answer[:, :, 0], rtol=1e-3)


def same_direction(x, gain, eps, answer):
    """without gains the answer points where its token points: if one feature was seven times another, it
    still is"""
    same = np.allclose(answer * x[:1], x * answer[:1]) and ((answer * x).sum(0) >= 0).all()
    return same or not plain(x, gain)


def size_is_one(x, gain, eps, answer):
    "without gains the mean of the squares of a token's features is 1, however many features there are"
    return not plain(x, gain) or np.allclose(np.square(answer).mean(0), 1, rtol=1e-3)


def gains_come_last(x, gain, eps, answer):
    """a gain belongs to a feature, and what it multiplies has size 1 already: where one gain is doubled, that
    feature is doubled and no other changes"""
    return quiet(x) or np.allclose(answer, ops.rms_norm.forward(x, gain, eps=eps), rtol=1e-3)


def quiet_stays_quiet(x, gain, eps, answer):
    """eps is there for tokens that are almost nothing: one whose features are far below the root of eps is
    not blown up to size 1, and one of zeros stays zeros"""
    return np.allclose(answer, ops.rms_norm.forward(x, gain, eps=eps), rtol=1e-6, atol=1e-12)


# ---- rotate: the features of one head, by their place

def heads_and_places(rng):
    """x (D,), a position, theta: angles known by hand, then random ones."""
    yield np.array([1.0, 2.0]), 0, 10_000.0
    yield np.array([1.0, 0.0]), 1, 10_000.0
    yield np.array([1.0, 0.0, 0.0, 0.0]), 2, 10_000.0
    yield np.array([1.0, 1.0, 0.0, 0.0]), 1, 4.0
    for D in (2, 4, 6, 10, 16):
        x, theta = rng.standard_normal((D,)), 100 + 10_000 * rng.random()
        for position in (0, 1, 3 + rng.integers(60)):
            yield x, position, theta


def in_pairs(x):                                 # (D,) -> complex (D/2,)
    """(D,) -> (D / 2,) complex: feature i beside feature i + D / 2."""
    first, second = np.split(x, 2)
    return first + 1j * second


def turned(x, answer):
    """By which angle each pair was turned."""
    return np.angle(in_pairs(answer) * np.conj(in_pairs(x)))


def as_many_features(x, position, theta, answer):
    "as many features come out as went in"
    return np.shape(answer) == x.shape


def starts_unturned(x, position, theta, answer):
    "at position 0 nothing is turned"
    return position > 0 or np.allclose(answer, x)


def length_is_kept(x, position, theta, answer):
    "a rotation changes no length: what is computed second must not use what the first line overwrote"
    return np.isclose(np.square(answer).sum(), np.square(x).sum())


def half_a_head_apart(x, position, theta, answer):
    "feature i turns together with feature i + D/2 and no other: the length of each such pair is kept"
    return np.allclose(np.abs(in_pairs(answer)), np.abs(in_pairs(x)))


def towards_the_second(x, position, theta, answer):
    "the first pair turns from its first axis towards its second: after one position (1, 0) has both above 0"
    return position != 1 or turned(x, answer)[0] > 0


def one_radian(x, position, theta, answer):
    "the first pair turns by one radian at each position, whatever D and theta are"
    return position != 1 or np.isclose(turned(x, answer)[0], 1)


def slower_and_slower(x, position, theta, answer):
    "each pair turns more slowly than the one before it"
    return position != 1 or (np.diff(turned(x, answer)) < 0).all()


def down_to_theta(x, position, theta, answer):
    """from each pair to the next the speed falls by one and the same factor, such that a further pair, behind
    the last one, would turn by 1 / theta; and p positions turn p times as far as one"""
    cos, sin = ops.rotary_tables(len(x), position + 1, theta)
    return np.allclose(in_pairs(answer), in_pairs(x) * (cos + 1j * sin)[:, position], atol=1e-5)


# ---- attend: one head

class Attended(NamedTuple):
    """What a function gives for some tokens, and for the same ones but the last key and value."""
    answer: np.ndarray
    changed: np.ndarray

    def __repr__(self):
        return shown(self.answer)


def queries_keys_values(rng):
    """The last feature of every value is 1."""
    yield with_ones([[2.0], [0], [0], [0]], [[1.0], [0], [0], [0]], [[3.0]])
    yield with_ones(np.zeros((3, 4)), np.eye(3, 4), [[1.0, 2, 6, 3]])
    ln3 = 1.0986122886681098
    yield with_ones([[2.0, 2], [0, 0], [0, 0], [0, 0]], [[0, ln3], [0, 0], [0, 0], [0, 0]], [[4.0, 8]])
    for D, E, T in ((3, 2, 5), (8, 3, 4), (16, 5, 7)):
        yield with_ones(*(rng.standard_normal((n, T)) for n in (D, D, E)))
    yield with_ones(*(100 * rng.standard_normal((n, 5)) for n in (6, 6, 2)))


def with_ones(q, k, v):
    """A value more for each token, which is 1: attention gives back the sum of its weights."""
    q, k, v = map(np.array, (q, k, v))
    return q, k, np.concatenate([v, np.ones((1, v.shape[1]))])


def twice(fn, q, k, v):
    """Of q, k, v; and of others whose last token, and last feature of values, differ."""
    other_k, other_v = k.copy(), v.copy()
    other_k[:, -1] += 3
    other_v[:-1, -1] += 5
    answers = fn(q, k, v), fn(q.copy(), other_k, other_v)
    return None if answers[0] is None else Attended(*answers)


def a_column_a_query(q, k, v, answer):
    "there is one column for each query, with as many features as a value has"
    return np.shape(answer.answer) == (len(v), q.shape[1])


def alone_with_itself(q, k, v, answer):
    "a token may look at itself: the only token of a text gets its own value"
    return q.shape[1] > 1 or np.allclose(answer.answer, v)


def always_a_number(q, k, v, answer):
    "every answer is a number, also where scores are in the thousands"
    return np.isfinite(answer.answer).all()


def weights_sum_to_one(q, k, v, answer):
    """the weights of a query, over the keys that it may see, sum to 1: a feature that is 1 in all values is 1
    in all answers"""
    return np.allclose(answer.answer[-1], 1)


def no_looking_ahead(q, k, v, answer):
    "no query sees a later key: changing the last key and value changes no answer before it"
    return np.allclose(answer.answer[:, :-1], answer.changed[:, :-1], rtol=1e-12)


def a_score_of_zero_counts(q, k, v, answer):
    "a query that prefers no key, because all its scores are 0, gets the plain mean of the values so far"
    return q.any() or np.allclose(answer.answer, np.cumsum(v, 1) / np.arange(1, q.shape[1] + 1))


def no_sharper_with_more(q, k, v, answer):
    """what one key's weight is of another's, exp of the difference of their scores says; and a score is
    divided so that its usual size does not grow with the number of features"""
    return np.allclose(answer.answer, v @ probabilities(q, k, len(q))[0].T, rtol=1e-6, atol=1e-6)


# ---- share_heads: fewer key heads than query heads

def keys_and_heads(rng):
    """k (K D, T), D, and how many query heads."""
    yield np.array([[1.0], [2], [3], [4]]), 2, 2
    yield np.array([[1.0], [2], [3], [4]]), 2, 4
    for K, D, T, H in ((1, 3, 5, 4), (2, 4, 3, 6), (3, 2, 7, 3), (3, 5, 4, 12), (4, 2, 9, 8)):
        yield rng.standard_normal((K * D, T)), D, H


def heads_of(x, D):
    """(H D, T) -> (H, D, T)."""
    return np.asarray(x).reshape(-1, D, np.shape(x)[-1])


def rows_for_every_query_head(k, head_dim, n_heads, answer):
    "there are D rows for each query head, and the columns, one a token, are as many as before"
    return np.shape(answer) == (n_heads * head_dim, k.shape[1])


def nothing_to_share(k, head_dim, n_heads, answer):
    "where there are as many key heads as query heads nothing changes"
    return n_heads * head_dim > len(k) or np.array_equal(answer, k)


def heads_stay_whole(k, head_dim, n_heads, answer):
    "what a query head reads is one key head, all D features of it, in their order"
    return all(any(np.array_equal(head, key) for key in heads_of(k, head_dim))
               for head in heads_of(answer, head_dim))


def everybody_serves(k, head_dim, n_heads, answer):
    "every key head serves equally many query heads"
    served = [sum(np.array_equal(head, key) for head in heads_of(answer, head_dim))
              for key in heads_of(k, head_dim)]
    return len(set(served)) == 1


def neighbours_share(k, head_dim, n_heads, answer):
    "query heads that read the same key head stand side by side, and the first ones read the first"
    keys = heads_of(k, head_dim)
    served_by = np.arange(n_heads) * len(keys) // n_heads
    return np.array_equal(heads_of(answer, head_dim), keys[served_by])


# ---- MyCache: keys and values so far

class Steps(NamedTuple):
    """What a cache gave at each step when it was alone, and when another one was filled beside it."""
    alone: list
    beside: list

    def __repr__(self):
        last = self.alone[-1]
        shapes = [np.shape(a) for a in last] if isinstance(last, tuple | list) else np.shape(last)
        return f"after the last step arrays of shape {shapes}"


def steps(rng):
    """[(keys (D, n), values (E, n)) of each step]."""
    for D, E, counts in ((2, 2, (1, 1)), (3, 5, (4, 1, 1, 2)), (4, 4, (1, 2, 3)), (6, 3, (5, *20 * [1]))):
        yield [(rng.standard_normal((D, n)), rng.standard_normal((E, n))) for n in counts],


def filled(new, steps):
    """Two caches: one filled alone, then one beside a third."""
    first, one, other = new(), new(), new()
    if first is None:
        return None
    alone, beside = [stepped(first, k, v) for k, v in steps], []
    for k, v in steps:
        beside.append(stepped(one, k, v))
        stepped(other, v - 1, k - 1)
    return None if any(pair is None for pair in alone) else Steps(alone, beside)


def stepped(cache, k, v):
    """One step, as of a caller who uses the arrays for something else afterwards."""
    k, v = k.copy(), v.copy()
    given = cache.extend(k, v)
    k[:], v[:] = np.nan, np.nan
    return copy.deepcopy(given)


def two_arrays(steps, answer):
    "each step gives two arrays, all keys so far and all values so far"
    return all(isinstance(pair, tuple | list) and len(pair) == 2 and np.ndim(pair[0]) == np.ndim(pair[1]) == 2
               for pair in answer.alone)


def caches_stay_apart(steps, answer):
    "two caches know nothing of each other: what one is given does not come out of the other"
    return all(np.array_equal(a, b, equal_nan=True) for pairs in zip(answer.alone, answer.beside)
               for a, b in zip(*pairs))


def a_column_a_token(steps, answer):
    "after n tokens there are n columns, whether they came one by one or several at a time; rows are features"
    lengths = np.cumsum([k.shape[1] for k, _ in steps])
    return all(np.shape(a) == (len(new), n) for pair, step, n in zip(answer.alone, steps, lengths)
               for a, new in zip(pair, step))


def a_copy_of_its_own(steps, answer):
    "the caller may use its arrays again: what it writes into them after a step does not reach the cache"
    return all(np.isfinite(a).all() for pair in answer.alone for a in pair)


def newest_last(steps, answer):
    "the newest tokens are the last columns, unchanged"
    return all(np.array_equal(a[:, -new.shape[1]:], new) for pair, step in zip(answer.alone, steps)
               for a, new in zip(pair, step))


def the_past_stays(steps, answer):
    "the columns of earlier tokens are what they were one step before"
    return all(np.array_equal(late[:, :early.shape[1]], early) for before, after in
               zip(answer.alone, answer.alone[1:]) for early, late in zip(before, after))


EXERCISES = {
    "rms_norm": Exercise("x (C, B, T), gain (C,), eps -> (C, B, T)", columns_and_gains, (
        like_x, each_by_itself, same_direction, size_is_one, gains_come_last, quiet_stays_quiet)),
    "rotate": Exercise("x (D,), position, theta -> (D,)", heads_and_places, (
        as_many_features, starts_unturned, length_is_kept, half_a_head_apart, towards_the_second, one_radian,
        slower_and_slower, down_to_theta)),
    "attend": Exercise("q (D, T), k (D, T), v (E, T) -> (E, T)", queries_keys_values, (
        a_column_a_query, alone_with_itself, always_a_number, weights_sum_to_one, no_looking_ahead,
        a_score_of_zero_counts, no_sharper_with_more), twice),
    "share_heads": Exercise("k (K D, T), D, H -> (H D, T)", keys_and_heads, (
        rows_for_every_query_head, nothing_to_share, heads_stay_whole, everybody_serves, neighbours_share)),
    "MyCache": Exercise("a class: extend(k (D, n), v (E, n)) -> all keys (D, L), values (E, L)", steps, (
        two_arrays, caches_stay_apart, a_column_a_token, a_copy_of_its_own, newest_last, the_past_stays),
        filled),
}
