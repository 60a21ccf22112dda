"""Notebook 00: right answers pass, and each plausible mistake is told what it violates."""
import numpy as np
import pytest
from solutions import solution

from minibitnet import grade

SEEDS = range(3)
NAMES = ("little_layer", "pack_column", "bytes_of")


def packed(rows_of_byte, code=lambda c: int(c) + 1, shift=lambda i: 2 * i):
    """A packer with a mistake: which rows a byte holds, what a code becomes, where its bits go."""
    def pack(codes):
        R = -(-len(codes) // 4)
        return [sum(code(codes[row]) << shift(i) for i, row in enumerate(rows_of_byte(r, R))
                    if row < len(codes)) for r in range(R)]
    return pack


def in_blocks(r, R):
    return [r, r + R, r + 2 * R, r + 3 * R]


def model_bytes(head=1, weights=1 / 4, scales=4, embedding=4, blocks_gains=True, last=True):
    def bytes_of(V, d, n_layers, F):
        block = (4 * d * d + 3 * d * F) * weights + 7 * scales + 4 * (3 * d + F) * blocks_gains
        total = n_layers * block + (embedding + 4 * head) * V * d + 4 * d * last
        return int(total) if total == int(total) else total
    return bytes_of


WRONG = {
    "little_layer": {
        "the scale is forgotten": (lambda c, x, s: c @ x, "y is not"),
        "the scale divides": (lambda c, x, s: (c @ x) / s, "y is not"),
        "the columns are added": (lambda c, x, s: (c.T[:, :1] * x[0]).ravel() * s, "one number for each row"),
        "element by element": (lambda c, x, s: c * x * s, "one number for each row"),
        "the scale is inside the sum": (lambda c, x, s: np.add.accumulate(c * (x * s), 1)[:, -1],
                                        "only the last step rounds"),
        "minus counts as plus": (lambda c, x, s: (np.abs(c) @ x) * s, "belongs to its row"),
        "the rows are reversed": (lambda c, x, s: (c[::-1] @ x) * s, "belongs to its row"),
        "rounded again": (lambda c, x, s: np.rint((c @ x) * s), "y is not"),
    },
    "pack_column": {
        "neighbours share a byte": (packed(lambda r, R: range(4 * r, 4 * r + 4)), "what it was"),
        "the first row is highest": (packed(in_blocks, shift=lambda i: 6 - 2 * i), "what it was"),
        "codes 1 2 3": (packed(in_blocks, lambda c: int(c) + 2), "no pair of bits is 11"),
        "two's complement": (packed(in_blocks, lambda c: int(c) & 3), "no pair of bits is 11"),
        "one bit apart": (packed(in_blocks, shift=lambda i: i), "what it was"),
        "a byte too few": (lambda c: packed(in_blocks)(c)[:len(c) // 4], "every four rows need one byte"),
        "a byte for each code": (lambda c: [int(code) + 1 for code in c], "every four rows need one byte"),
        "padding as zero weights": (lambda c: packed(in_blocks)([*c, *[0] * (-len(c) % 4)]), "bits are 00"),
        "negative bytes": (lambda c: np.array(packed(in_blocks)(c), np.uint8).view(np.int8), "from 0 to 255"),
    },
    "bytes_of": {
        "the embedding in two bits": (model_bytes(embedding=1 / 4), "two rows of float32"),
        "the head is forgotten": (model_bytes(head=0), "two rows of float32"),
        "1.58 bits": (model_bytes(weights=1.58 / 8), "whole numbers"),
        "a byte for each weight": (model_bytes(weights=1), "four rows of gate"),
        "scales are forgotten": (model_bytes(scales=0), "a block more"),
        "the gains are forgotten": (model_bytes(blocks_gains=False), "four gains a block"),
        "the last norm is forgotten": (model_bytes(last=False), "the last norm has gains"),
        "half as many": (lambda V, d, n, F: model_bytes()(V, d, n, F) // 2, "two rows of float32"),
    },
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_published_solution_passes(name, seed):
    report = grade(name, solution("00_map", name), seed)
    assert report.right, str(report)


@pytest.mark.parametrize("name, mistake", [(name, mistake) for name in NAMES for mistake in WRONG[name]])
def test_a_mistake_is_rejected_and_told(name, mistake):
    fn, sentence = WRONG[name][mistake]
    for seed in SEEDS:
        report = grade(name, fn, seed)
        assert not report.right and sentence in report.problem, f"{mistake}: {report}"


@pytest.mark.parametrize("name", NAMES)
def test_a_stub_is_not_solved_yet(name):
    assert "not solved yet" in str(grade(name, lambda *arguments: None))


def test_every_exercise_has_five_mistakes():
    assert all(len(WRONG[name]) >= 5 for name in NAMES)
