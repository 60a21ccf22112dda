"""The exercises of notebook 07: the published solution is right under every seed, and each mistake that
people make is told by the property that it breaks. (Its name is not test_packing.py, which tests/ has.)"""
import numpy as np
import pytest
from solutions import solution

from minibitnet.course.exercise import UNSOLVED, graded
from minibitnet.course.packing import EXERCISES

STEM = "07_packing"


def right(name):
    return solution(STEM, name)


# ---- wrong answers: {exercise: {what is wrong: (a function, a piece of the sentence that says so)}}

def joined(fields, shifts=(0, 2, 4, 6)):
    return sum(int(field) << shift for field, shift in zip(fields, shifts))


def bands_of(codes, code_of=lambda w: w + 1, pad=0, shifts=(0, 2, 4, 6), rows=None, arrange=None):
    """pack_codes with one thing changed."""
    n, m = codes.shape
    R = -(-n // 4) if rows is None else rows
    stored = np.full((4 * R, m), pad, np.uint8)
    stored[:n] = code_of(codes[:4 * R])
    bands = stored.reshape(4, R, m) if arrange is None else arrange(stored, R)
    return (bands << np.uint8(shifts)[:, None, None]).sum(0, dtype=np.uint8)


def flat(codes):
    n, m = codes.shape
    R = -(-n // 4)
    stored = np.zeros(4 * R * m, np.uint8)
    stored[:codes.size] = codes.ravel() + 1
    quads = stored.reshape(-1, 4) << np.uint8([0, 2, 4, 6])
    return quads.sum(1, dtype=np.uint8).reshape(R, m)


def along_columns(codes):
    return bands_of(codes.T).T


def unpacked(packed, n, refuse=3, order=(0, 1, 2, 3), keep=None, dtype=np.int8, one=1, pairs=4):
    """unpack_codes with one thing changed."""
    fields = np.stack([packed >> 2 * i & 3 for i in order])
    if (fields[:pairs] == refuse).any():
        raise ValueError("damaged")
    rows = fields.reshape(-1, packed.shape[1])[:keep or n]
    return rows.astype(dtype) - dtype(one)


def in_place(packed, n):
    if (packed & packed >> 1 & 0b01010101).any():
        raise ValueError("damaged")
    bands = []
    for _ in range(4):
        bands.append((packed & 3).astype(np.int8) - np.int8(1))
        packed >>= 2
    return np.concatenate(bands)[:n]


def interleaved(packed, n):
    rows = unpacked(packed, 4 * len(packed))
    return rows.reshape(4, -1, packed.shape[1]).swapaxes(0, 1).reshape(rows.shape)[:n]


def first_band_only(packed, n):
    rows = unpacked(packed, 4 * len(packed))
    R = len(packed)
    return np.concatenate([rows[:R], rows[R:].reshape(3, R, -1)[::-1].reshape(3 * R, -1)])[:n]


def counted(x, plus, minus, places=(1, 2, 4, 8, 16, 32, 64, -128), bit=lambda value, b: value >> b & 1,
            order=1, mask=-1, one_count=False, add_n=True, minus_sign=-1):
    """bit_dot with one thing changed."""
    total, m = 0, len(x)
    for b, place in enumerate(places):
        row = sum(bit(value, b) << (j if order == 1 else m - 1 - j) for j, value in enumerate(x)) & mask
        if one_count:
            total += place * ((plus | minus) & (minus ^ row)).bit_count()
        else:
            total += place * ((plus & row).bit_count() + minus_sign * (minus & row).bit_count())
    return total + (minus.bit_count() if one_count and add_n else 0)


def looked_up(x, index, group, values=lambda f: (-f, 0, f), first_highest=True, shared=False, dtype=np.int64,
              pad=0, last=True):
    """lookup_dot with one thing changed."""
    padded = np.full(index.shape[1] * group, pad, np.int64)
    padded[:len(x)] = x
    y, groups = np.zeros(len(index), dtype), padded.reshape(-1, group)
    for k in range(len(groups) if last else len(x) // group):
        table = np.zeros(1, np.int64)
        for f in groups[0 if shared else k]:
            more = np.array(values(f))
            table = (table[:, None] + more if first_highest else table + more[:, None]).ravel()
        y += table.astype(dtype)[index[:, k]]
    return y


BYTE, NO_11, EMPTY = "a byte holds", "the bits 11 stand for no weight", "leaves its two bits empty"
LOW, ODD, ORDER = "sets the lower one", "the byte is odd", "in the order in which"
WRONG = {
    "pack4": {
        "the first weight in the high bits": (lambda w: joined([v + 1 for v in w], (6, 4, 2, 0)), ODD),
        "codes 1 2 3": (lambda w: joined([v + 2 for v in w]), NO_11),
        "two's complement": (lambda w: joined([v & 3 for v in w]), NO_11),
        "weights modulo 3": (lambda w: joined([v % 3 for v in w]), EMPTY),
        "base 3": (lambda w: sum((v + 1) * 3**i for i, v in enumerate(w)), NO_11),
        "shifts of one bit": (lambda w: joined([v + 1 for v in w], (0, 1, 2, 3)), NO_11),
        "shifts of a whole byte": (lambda w: joined([v + 1 for v in w], (0, 8, 16, 24)), BYTE),
        "a string of bits": (lambda w: f"{joined([v + 1 for v in w]):08b}", BYTE),
        "signs turned around": (lambda w: joined([1 - v for v in w]), ORDER),
        "0 as 10 and +1 as 01": (lambda w: joined([(0, 2, 1)[v + 1] for v in w]), LOW),
        "two middle weights exchanged": (lambda w: joined([v + 1 for v in w], (0, 4, 2, 6)), ORDER),
    },
    "pack_codes": {
        "neighbours together": (
            lambda c: bands_of(c, arrange=lambda s, R: s.reshape(R, 4, -1).swapaxes(0, 1)),
            "are no neighbours"),
        "bands along columns": (along_columns, "a row of bytes for every four rows"),
        "n / 4 rounded down": (lambda c: bands_of(c[:len(c) // 4 * 4]), "a row of bytes for every four rows"),
        "padding 01": (lambda c: bands_of(c, pad=1), "rows that are not there"),
        "64 bits a byte": (lambda c: bands_of(c).astype(np.int64), "the answer is uint8"),
        "the matrix as one long row": (flat, "each column of bytes"),
        "first rows in the high bits": (lambda c: bands_of(c, shifts=(6, 4, 2, 0)), "the first rows"),
        "codes 0, 1, 3": (lambda c: bands_of(c, code_of=lambda w: np.uint8([0, 1, 3])[w + 1]),
                          "rows that are not there"),
    },
    "unpack_codes": {
        "bits 11 taken as +2": (lambda p, n: unpacked(p, n, refuse=9), "a ValueError is raised where"),
        "bits 10 refused": (lambda p, n: unpacked(p, n, refuse=2), "a ValueError is raised where"),
        "only the lowest pair checked": (lambda p, n: unpacked(p, n, pairs=1), "whichever of the four"),
        "padding given back": (lambda p, n: unpacked(p, n, keep=4 * len(p)), "padding is no weight"),
        "uint8, where -1 is 255": (lambda p, n: unpacked(p, n, dtype=np.uint8), "is -1, 0 or +1"),
        "the 1 not subtracted": (lambda p, n: unpacked(p, n, one=0), "is -1, 0 or +1"),
        "float32": (lambda p, n: unpacked(p, n, dtype=np.float32), "the answer is int8"),
        "shifted in place": (in_place, "nothing is written into"),
        "bands from the top": (lambda p, n: unpacked(p, n, order=(3, 2, 1, 0)), "from the lowest two bits"),
        "neighbours": (interleaved, "is a band of rows"),
        "only the first band right": (first_band_only, "is a band of rows"),
    },
    "bit_dot": {
        "the last place counts +128": (lambda *a: counted(*a, places=(1, 2, 4, 8, 16, 32, 64, 128)),
                                       "the highest of its bits counts -128"),
        "the sign left out": (lambda *a: counted(*a, bit=lambda value, b: abs(value) >> b & 1),
                              "negative features count as negative"),
        "seven places": (lambda *a: counted(*a, places=(1, 2, 4, 8, 16, 32, 64)), "negative features count"),
        "|N| not added": (lambda *a: counted(*a, one_count=True, add_n=False), "takes its feature away"),
        "minus added": (lambda *a: counted(*a, minus_sign=1), "takes its feature away"),
        "minus left out": (lambda *a: counted(*a, minus_sign=0), "takes its feature away"),
        "sum in int8": (lambda *a: int(np.array(counted(*a)).astype(np.int8)), "more than a byte holds"),
        "64 features at most": (lambda *a: counted(*a, mask=2**64 - 1), "behind the 64th"),
        "features in the other order": (lambda *a: counted(*a, order=-1), "bit j of a mask"),
        "every bit counts 1": (lambda *a: counted(*a, places=(1,) * 7 + (-1,)), "counts 2 to the b"),
        "a count for each place": (lambda *a: [counted(*a)], "one whole number"),
    },
    "lookup_dot": {
        "weight -1 as the last entry": (lambda *a: looked_up(*a, values=lambda f: (0, f, -f)), "gives 0"),
        "digits taken as weights": (lambda *a: looked_up(*a, values=lambda f: (0, f, 2 * f)), "gives 0"),
        "signs turned around": (lambda *a: looked_up(*a, values=lambda f: (f, 0, -f)), "a single +1 gives"),
        "the first weight as lowest digit": (lambda *a: looked_up(*a, first_highest=False), "highest digit"),
        "one table for all groups": (lambda *a: looked_up(*a, shared=True), "a table of its own"),
        "the last, short group left out": (lambda *a: looked_up(*a, last=False), "features may be missing"),
        "sums in int8": (lambda *a: looked_up(*a, dtype=np.int8), "however large"),
        "one sum for all rows": (lambda *a: looked_up(*a).sum(), "for each row of indices"),
        "sums as floats": (lambda *a: looked_up(*a).astype(float), "one whole number"),
    },
}
ALL = [(name, mistake) for name, mistakes in WRONG.items() for mistake in mistakes]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EXERCISES)
def test_the_published_solution_is_right(name, seed):
    assert graded(name, EXERCISES[name], right(name), seed).right


@pytest.mark.parametrize("name", EXERCISES)
def test_the_stub_is_not_solved_yet(name):
    assert UNSOLVED in str(graded(name, EXERCISES[name], lambda *arguments: None))


@pytest.mark.parametrize("seed", range(3))
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
