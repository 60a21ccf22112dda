"""The exercises of notebook 05: the published solution is right under every seed, and each mistake that
people make is told by the property that it breaks."""
import numpy as np
import pytest
from solutions import solution

from minibitnet.course.exercise import UNSOLVED, graded
from minibitnet.course.transformer import EXERCISES

STEM = "05_transformer"
SEEDS = range(3)


# ---- wrong answers: {exercise: {what is wrong: (a function, a piece of the sentence that says so)}}

def normed(r, gained=lambda n, gain: n * gain[:, None, None], centre=lambda x: x):
    """rms_norm with another factor r of (x, eps), another use of the gains, or of a centred x."""
    return lambda x, gain, eps: gained(centre(x) / r(centre(x), eps), gain)


def root(x, axis=0, **options):
    return np.sqrt((x * x).mean(axis, **options))


def right_size(x, eps):
    return np.sqrt((x * x).mean(0) + eps)


def into_its_input(x, gain, eps):
    x /= right_size(x, eps)
    return x * gain[:, None, None]


def gains_first(x, gain, eps):
    x = x * gain[:, None, None]
    return x / right_size(x, eps)


def turning(angles, apart=True, second=lambda a, b, c, s: a * s + b * c, sign=1):
    """rotate with other angles of (position, theta, D), other pairs, another second feature."""
    def rotate(x, position, theta):
        a, b = np.split(x, 2) if apart else (x[::2], x[1::2])
        angle = sign * angles(position, theta, len(x))
        c, s = np.cos(angle), np.sin(angle)
        both = a * c - b * s, second(a, b, c, s)
        return np.concatenate(both) if apart else np.stack(both, 1).ravel()
    return rotate


def right_angles(position, theta, D):
    return position * theta ** (-np.arange(0, D, 2) / D)


def on_a_line(position, theta, D):
    return position * np.linspace(1, 1 / theta, D // 2 + 1)[:-1]


def reusing_a(a, b, c, s):                       # a = a c - b s;  b = a s + b c
    return (a * c - b * s) * s + b * c


def attending(mask=np.triu, hide=-np.inf, divisor=np.sqrt, axis=0, exp=np.exp, after=lambda P, T: P,
              largest=lambda S: S.max(0), zero=0.0):
    """attend with one thing changed; mask(ones (T, T)): which keys (down) a query (across) may see."""
    def attend(q, k, v):
        T = q.shape[1]
        S = np.where(mask(np.ones((T, T))) > 0, k.T @ q / divisor(len(q)), hide)
        e = exp(S - largest(S))
        return v @ after(e / e.sum(axis, keepdims=True), T) + zero
    return attend


def masked_afterwards(P, T):
    return np.triu(P)


def first_best(S):
    best = S == S.max(0)
    return 1.0 * (best & (np.cumsum(best, 0) == 1))


hiding_itself = attending(mask=lambda ones: np.triu(ones, 1))


def sharing(take):
    """share_heads that takes heads by their indices, take(K, H)."""
    def share_heads(k, head_dim, n_heads):
        heads = k.reshape(-1, head_dim, k.shape[1])
        return heads[take(len(heads), n_heads)].reshape(-1, k.shape[1])
    return share_heads


def shares(f):
    """A share_heads of (k, head_dim, how many share)."""
    return lambda k, head_dim, n_heads: f(k, head_dim, n_heads * head_dim // len(k))


def unevenly(K, H):
    return np.minimum(np.arange(H), K - 1)


def features_outermost(k, D, n):
    return np.repeat(k.reshape(D, -1, k.shape[1]).swapaxes(0, 1), n, 0).reshape(-1, k.shape[1])


class Cache:
    """A right one, to be made wrong."""

    def __init__(self):
        self.kept = None

    def extend(self, *new):
        new = [a.copy() for a in new]
        self.kept = new if self.kept is None else [self.joined(a, b) for a, b in zip(self.kept, new)]
        return self.given(*self.kept)

    def joined(self, old, new):
        return np.concatenate([old, new], 1)

    def given(self, k, v):
        return k, v


class NewestFirst(Cache):
    def joined(self, old, new):
        return np.concatenate([new, old], 1)


class Below(Cache):
    def joined(self, old, new):
        return np.concatenate([old, new], 0) if old.shape[1] == new.shape[1] else old


class OneOfEachStep(Cache):
    def joined(self, old, new):
        return np.concatenate([old, new[:, -1:]], 1)


class OnlyNew(Cache):
    def joined(self, old, new):
        return new


class Averaged(Cache):
    """Old columns fade."""
    def joined(self, old, new):
        return np.concatenate([0.99 * old, new], 1)


class Exchanged(Cache):
    def given(self, k, v):
        return (v, k) if k.shape != v.shape else (k, v)


class KeysAlone(Cache):
    def given(self, k, v):
        return k


class ValuesTwice(Cache):
    def given(self, k, v):
        return (k, v) if k.shape != v.shape else (v, v)


class Aliasing(Cache):
    def extend(self, *new):
        self.kept = new if self.kept is None else [self.joined(a, b) for a, b in zip(self.kept, new)]
        return self.kept


class Views:
    """A list of the callers' arrays, joined at each call."""
    def __init__(self):
        self.steps = []

    def extend(self, *new):
        self.steps.append(new)
        return tuple(np.concatenate(parts, 1) for parts in zip(*self.steps))


class Together(Cache):
    """The state is the class's."""
    keys = []

    def extend(self, k, v):
        self.keys.append((k.copy(), v.copy()))
        fitting = [pair for pair in self.keys if (len(pair[0]), len(pair[1])) == (len(k), len(v))]
        return tuple(np.concatenate(parts, 1) for parts in zip(*fitting))


class SixteenAtMost(Cache):
    def given(self, k, v):
        return k[:, -16:], v[:, -16:]


class OneAtATime(Cache):
    """A step is counted as one token."""
    def extend(self, *new):
        self.length = getattr(self, "length", 0)
        if not self.length:
            self.kept = [np.zeros((len(a), 64)) for a in new]
        for kept, a in zip(self.kept, new):
            kept[:, self.length:self.length + a.shape[1]] = a
        self.length += 1
        return tuple(kept[:, :self.length] for kept in self.kept)


WRONG = {
    "rms_norm": {
        "the mean over tokens": (normed(lambda x, eps: root(x, 2, keepdims=True)), "by itself"),
        "the mean over everything": (normed(lambda x, eps: root(x, None)), "by itself"),
        "LayerNorm": (normed(right_size, centre=lambda x: x - x.mean(0)), "seven times another"),
        "the signs are lost": (normed(right_size, centre=np.abs), "the other's negative"),
        "a sum for the mean": (normed(lambda x, eps: np.sqrt((x * x).sum(0) + eps)), "mean of the squares"),
        "the root is forgotten": (normed(lambda x, eps: (x * x).mean(0) + eps), "the other's negative"),
        "the largest for the mean": (normed(lambda x, eps: np.abs(x).max(0) + eps), "mean of the squares"),
        "the mean magnitude": (normed(lambda x, eps: np.abs(x).mean(0) + eps), "mean of the squares"),
        "the gain is forgotten": (normed(right_size, lambda n, gain: n), "gain is doubled"),
        "the gain before the norm": (gains_first, "gain is doubled"),
        "1 + gain": (normed(right_size, lambda n, gain: n * (1 + gain[:, None, None]) / 2),
                     "gain is doubled"),
        "eps outside of the root": (normed(lambda x, eps: root(x) + eps), "almost nothing"),
        "without eps": (normed(lambda x, eps: root(x)), "almost nothing"),
        "the larger of the two": (normed(lambda x, eps: np.maximum(root(x), eps)), "almost nothing"),
        "eps squared": (normed(lambda x, eps: np.sqrt((x * x).mean(0) + eps**2)), "almost nothing"),
        "only the first sequence": (lambda x, gain, eps: (x / right_size(x, eps))[:, :1], "x's shape"),
        "into its input": (into_its_input, "nothing is written"),
    },
    "rotate": {
        "neighbours in pairs": (turning(right_angles, apart=False), "i + D/2"),
        "the other way round": (turning(right_angles, sign=-1), "both above 0"),
        "degrees": (turning(lambda p, theta, D: np.pi / 180 * right_angles(p, theta, D)), "one radian"),
        "i / D for 2 i / D": (turning(lambda p, theta, D: p * theta ** (-np.arange(D // 2) / D)),
                              "1 / theta"),
        "theta to a positive power": (turning(lambda p, theta, D: p * theta ** (np.arange(0, D, 2) / D)),
                                      "more slowly"),
        "the pairs counted from 1": (turning(lambda p, theta, D: p * theta ** (-np.arange(2, D + 2, 2) / D)),
                                     "one radian"),
        "positions counted from 1": (turning(lambda p, theta, D: right_angles(p + 1, theta, D)),
                                     "position 0"),
        "the same speed for all pairs": (turning(lambda p, theta, D: p * np.ones(D // 2)), "more slowly"),
        "a constant theta": (turning(lambda p, theta, D: right_angles(p, 500_000, D)), "1 / theta"),
        "speeds on a straight line": (turning(on_a_line), "1 / theta"),
        "the first line's result in the second": (turning(right_angles, second=reusing_a), "no length"),
        "only the first half": (turning(right_angles, second=lambda a, b, c, s: b), "no length"),
        "complex numbers": (lambda x, p, theta: np.exp(1j * right_angles(p, theta, len(x))) * (
            x[:len(x) // 2] + 1j * x[len(x) // 2:]), "as many features"),
    },
    "attend": {
        "the softmax over queries": (attending(axis=1, hide=-1e30, largest=lambda S: S.max(1, keepdims=True)),
                                     "sum to 1"),
        "without the root of D": (attending(divisor=lambda D: 1), "usual size"),
        "divided by D": (attending(divisor=lambda D: D), "usual size"),
        "the root of T": (lambda q, k, v: attending(divisor=lambda D: q.shape[1]**0.5)(q, k, v),
                          "usual size"),
        "no mask": (attending(mask=lambda ones: ones), "later key"),
        "the mask lets the next one through": (attending(mask=lambda ones: np.triu(ones, -1)), "later key"),
        "the mask hides the past": (attending(mask=np.tril), "later key"),
        "the mask hides the token itself": (hiding_itself, "its own value"),
        "zeros where nothing is seen": (attending(hide=0.0), "later key"),
        "masked after the softmax": (
            attending(mask=lambda ones: ones, after=masked_afterwards), "sum to 1"),
        "the maximum is not subtracted": (attending(largest=lambda S: 0), "in the thousands"),
        "the maximum of everything": (attending(largest=lambda S: S.max()), "in the thousands"),
        "only the best key": (attending(exp=first_best), "no key"),
        "weights in powers of 2": (attending(exp=np.exp2), "exp of the difference"),
        "0 / 0 made 0": (lambda q, k, v: np.nan_to_num(hiding_itself(q, k, v)), "its own value"),
        "queries down": (lambda q, k, v: attending()(q, k, v).T, "one column for each query"),
    },
    "share_heads": {
        "tile for repeat": (sharing(lambda K, H: np.arange(H) % K), "side by side"),
        "from the last one": (sharing(lambda K, H: np.arange(H)[::-1] * K // H), "nothing changes"),
        "backwards where some share": (
            sharing(lambda K, H: np.arange(H)[::-1] * K // H if K < H else np.arange(H)), "side by side"),
        "features repeated": (shares(lambda k, D, n: np.repeat(k, n, 0)), "all D features"),
        "features outermost": (shares(features_outermost), "nothing changes"),
        "tokens repeated": (shares(lambda k, D, n: np.repeat(k, n, 1)), "D rows for each"),
        "H / K inverted": (sharing(lambda K, H: np.arange(K)[::max(1, K // H)]), "D rows for each"),
        "as many as there are": (lambda k, D, H: k, "D rows for each"),
        "the last one for all that are too many": (sharing(unevenly), "equally many"),
        "the first head for everybody": (sharing(lambda K, H: np.zeros(H, int)), "nothing changes"),
        "a head too few in front": (sharing(lambda K, H: np.maximum(np.arange(H) * K // H - 1, 0)),
                                    "nothing changes"),
        "another axis": (shares(lambda k, D, n: np.tile(k, (1, n))), "D rows for each"),
    },
    "MyCache": {
        "newest first": (NewestFirst, "newest tokens"),
        "below one another": (Below, "n columns"),
        "the last token of each step": (OneOfEachStep, "n columns"),
        "only the new ones": (OnlyNew, "n columns"),
        "sixteen at most": (SixteenAtMost, "n columns"),
        "a step is one token": (OneAtATime, "n columns"),
        "the past fades": (Averaged, "one step before"),
        "keys and values exchanged": (Exchanged, "n columns"),
        "values twice": (ValuesTwice, "newest tokens"),
        "keys alone": (KeysAlone, "two arrays"),
        "the caller's first array": (Aliasing, "use its arrays again"),
        "the callers' arrays in a list": (Views, "use its arrays again"),
        "one state for the class": (Together, "nothing of each other"),
    },
}
ALL = [(name, mistake) for name, mistakes in WRONG.items() for mistake in mistakes]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EXERCISES)
def test_the_published_solution_is_right(name, seed):
    assert graded(name, EXERCISES[name], solution(STEM, name), seed).right


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_solved_yet(name):
    class Stub:
        def extend(self, k, v):
            return None
    for stub in (lambda *arguments: None, Stub) if name == "MyCache" else (lambda *arguments: None,):
        assert UNSOLVED in str(graded(name, EXERCISES[name], stub))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name, mistake", ALL, ids=[f"{name}: {mistake}" for name, mistake in ALL])
def test_a_mistake_is_told_by_the_property_that_it_breaks(name, mistake, seed):
    wrong, sentence = WRONG[name][mistake]
    report = graded(name, EXERCISES[name], wrong, seed)
    assert not report.right and sentence in report.problem


def test_every_property_rejects_a_mistake_of_its_own():
    """And each exercise has five mistakes at least."""
    for name, exercise in EXERCISES.items():
        told = [graded(name, exercise, wrong).problem for wrong, _ in WRONG[name].values()]
        sentences = [" ".join(holds.__doc__.split()) for holds in exercise.properties]
        assert len(told) >= 5 and [s for s in sentences if not any(s in problem for problem in told)] == []


def test_a_cache_with_room_kept_from_the_beginning_is_right():
    class Room(Cache):
        def extend(self, *new):
            self.length = getattr(self, "length", 0)
            if not self.length:
                self.room = [np.empty((len(a), 100)) for a in new]
            end = self.length + new[0].shape[1]
            for room, a in zip(self.room, new):
                room[:, self.length:end] = a
            self.length = end
            return [room[:, :end] for room in self.room]
    assert graded("MyCache", EXERCISES["MyCache"], Room).right
