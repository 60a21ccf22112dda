"""Is a model's file sound?  What its weights and its tokenizer look like, before it says a word.

Ternary weights are easy to judge: training leaves a third of them 0, as many +1 as -1, and no pattern. Of
normal latent weights absmean makes 31 % zeros (|w| < mean|w| / 2), log2(3) = 1.585 bits of information a
weight at most; ``MatrixSeen`` has these figures of a matrix, and what it should not have: rows that are
constant, long runs of one byte, a twin. Each of FAULTS is what a damaged or wrongly converted file shows;
``readings.py`` finds those that only running the model can tell.
"""
import hashlib
import math
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..float16 import widen
from ..formats.packed import is_bitlinear

FAULTS = {                             # name: what it comes from
    "damaged file": "a download that ended early, a page or a pointer in its place, a flipped bit, or the "
                    "configuration of another model",
    "no zeros": "weights by their sign alone, where ternary ones are asked for (absmean left out)",
    "zeros alone": "weights rounded to 0: a scale far too large when they were quantized",
    "constant rows": "rows of one code: a matrix that was never filled, or filled in part",
    "hole": "a long run of one byte: a piece of the file that was never written",
    "twins": "two matrices of the very same weights: one was written twice",
    "lopsided": "many more of one sign than of the other: codes read with another map of bits",
    "scale out of line": "a scale far from those of its kind: a flipped bit, or another matrix's",
    "scales lost": "every scale is 1: the true ones were left behind",
    "scale convention": "scales that divide, read as if they multiplied, or the other way round",
    "quantized twice": "floats of three values alone: quantized already, and mean|W| is not their scale",
    "number out of line": "a number in embedding, head or gains that is far too large: a flipped bit, "
                          "another byte order",
    "empty rows": "tokens whose embedding is 0: a piece of the matrix is missing",
    "dead gains": "a norm many of whose gains are 0: nothing passes there",
    "head beside a tied one": "a head of its own, which config.json (tie_word_embeddings) says is not there",
    "stale packing": "packed.safetensors is not what its run's checkpoint gives",
    "tokenizer": "texts do not come back, or tokens that no text becomes: not this model's, or damaged",
    "end of text": "no token ends a text, or one that texts hold does",
    "not as published": "sizes of a published model, and another activation, base of rotation or eps than it",
    # found by running it: readings.py
    "activation": "another activation between gate and up: SiLU for squared ReLU",
    "row order": "four neighbouring rows share a byte, read as if they were a quarter of the matrix apart",
    "bit order": "the four weights of a byte in the other order",
    "code map": "bits 00, 01, 10 for 0, +1, -1, read as -1, 0, +1",
    "signs": "+1 and -1 exchanged",
    "rotary order": "rows of q and k in pairs of neighbours, where halves of a head are asked for",
    "gate and up": "gate and up exchanged",
    "rotary base": "another base of the rotary angles (rope_theta)",
    "predicts nothing": "noise, too little training, a tokenizer that is not the model's, or a model of "
                        "texts of another kind",
}
# of bits: counts of 00, 01, 10, 11 in every byte
COUNTS = np.stack([((np.arange(256)[:, None] >> np.arange(0, 8, 2) & 3) == digit).sum(1)
                   for digit in range(4)], 1)
FEW_ZEROS, MANY_ZEROS = 0.01, 0.99     # shares that no sound ternary matrix has
LOPSIDED = 0.2                         # of (n+ - n-) / (n+ + n-)
FAR = 30.0                             # times the median of its kind
HUGE = 1e5                             # larger than any gain or embedding
LARGE_SCALE = 20.0                     # times 1 / sqrt(m); trained matrices of this project: 0.5 to 4
DEAD = 0.25                            # share of a norm's gains that are 0
RARE = 1e-9                            # so probable is the longest run that chance may make
PUBLISHED = {                          # [2b4t], and the config.json that came with it
    ("BitNet b1.58 2B4T", (128_256, 2560, 30, 20, 5, 6912)):
        dict(activation="relu2", rope_theta=500_000.0, norm_eps=1e-5, tied=True)}


def entropy(counts):
    """How often each of some things is there -> nats:  -sum p log p."""
    p = np.array([count for count in counts if count]) / sum(counts)
    return float(-(p * np.log(p)).sum()) + 0.0


class Finding(NamedTuple):
    """fault: of FAULTS; said: where, and what was seen."""
    fault: str
    said: str


class MatrixSeen(NamedTuple):
    """What a matrix of codes looks like. counts: of -1, 0, +1; constant: rows of one code; run: the longest
    run of one byte in the packed matrix, and whether chance can make it."""
    name: str
    n: int
    m: int
    counts: tuple
    scale: float
    constant: int
    run: int
    hole: bool
    digest: bytes

    @property
    def kind(self):
        """Its name without the layer: self_attn.q_proj."""
        return self.name.removesuffix(".weight").split(".", 2)[-1]

    @property
    def zeros(self):
        """Share of zeros."""
        return self.counts[1] / (self.n * self.m)

    @property
    def balance(self):
        """(n+ - n-) / (n+ + n-), 0 where both are as frequent."""
        minus, _, plus = self.counts
        return (plus - minus) / max(1, plus + minus)

    @property
    def entropy(self):
        """Bits a weight:  -sum p log2 p."""
        return entropy(self.counts) / math.log(2)

    @property
    def relative_scale(self):
        """scale sqrt(m): what a unit input gives, but for the zeros."""
        return self.scale * self.m**0.5


def look(name, matrix):
    """A PackedMatrix -> MatrixSeen."""
    packed, n, scale = matrix
    R, m = packed.shape
    bytes_of = np.bincount(packed.reshape(-1), minlength=256)
    minus, zero, plus, _ = bytes_of @ COUNTS
    either, both = np.bitwise_or.reduce(packed, 1), np.bitwise_and.reduce(packed, 1)
    constant = sum(int(((either ^ both) >> 2 * i & 3 == 0)[:max(0, n - i * R)].sum()) for i in range(4))
    flat = packed.reshape(-1)
    ends = np.flatnonzero(np.concatenate([flat[1:] != flat[:-1], [True]]))
    run = int(np.diff(ends, prepend=-1).max())
    by_chance = packed.size * (bytes_of.max() / packed.size)**run
    return MatrixSeen(name, n, m, (int(minus) - (4 * R - n) * m, int(zero), int(plus)), float(scale),
                      constant if m > 16 else 0, run, bool(run >= 16 and by_chance < RARE),
                      hashlib.sha256(packed).digest())


# ---- what is wrong with the matrices

def of_matrices(seen, ternary=True):
    """[MatrixSeen] -> Findings. ternary: should there be zeros?"""
    for s in seen:
        if ternary and s.zeros < FEW_ZEROS:
            yield Finding("no zeros", f"{s.name}: {s.zeros:.1%} of the weights are 0")
        elif s.zeros > MANY_ZEROS:
            yield Finding("zeros alone", f"{s.name}: {s.zeros:.1%} of the weights are 0")
        elif s.constant:
            yield Finding("constant rows", f"{s.name}: {s.constant:,} of {s.n:,} rows are of one code")
        elif s.hole:
            yield Finding("hole", f"{s.name}: {s.run:,} bytes in a row are the same")
    for first, second in twins(seen):
        yield Finding("twins", f"{first.name} and {second.name} hold the same weights")
    lopsided = [s for s in seen if abs(s.balance) > LOPSIDED and s.zeros <= MANY_ZEROS and not s.constant]
    if len(lopsided) > len(seen) / 2:
        s = lopsided[0]
        yield Finding("lopsided", f"{s.name}: {s.counts[2]:,} weights are +1, {s.counts[0]:,} are -1; and "
                                  f"{len(lopsided) - 1:,} more matrices so")
    for s, usual in out_of_line(seen):
        yield Finding("scale out of line", f"{s.name}: scale {s.scale:g}, of its kind {usual:g} is usual")
    if len(seen) > 1 and all(s.scale == 1 for s in seen):
        yield Finding("scales lost", f"all {len(seen)} scales are 1")


def twins(seen):
    """Pairs of the same weights, not both of one code."""
    first: dict = {}
    for s in seen:
        if s.digest in first and s.constant < s.n:
            yield first[s.digest], s
        first.setdefault(s.digest, s)


def out_of_line(seen):
    """(MatrixSeen, the usual scale) of each that is FAR from the others of its kind."""
    kinds: dict = {}
    for s in seen:
        kinds.setdefault(s.kind, []).append(s)
    everyone = np.median([s.relative_scale for s in seen]) if seen else 0
    for alike in kinds.values():
        usual = np.median([s.scale for s in alike])
        if len(alike) < 3:                       # too few to say who of them is out of line
            usual = everyone / alike[0].m**0.5
        yield from ((s, float(usual)) for s in alike if not 1 / FAR < s.scale / usual < FAR)


def suspicious_scales(seen):
    """A Finding where the scales are those that dividing ones would be, or None. It is a guess: a model
    that predicts well with them is sound."""
    if seen and (usual := float(np.median([s.relative_scale for s in seen]))) > LARGE_SCALE:
        return Finding("scale convention",
                       f"scales of {min(s.scale for s in seen):g} to {max(s.scale for s in seen):g} are "
                       f"{usual:.0f} times 1 / sqrt(inputs); their inverses "
                       f"{np.median([s.m**0.5 / s.scale for s in seen]):.2g} times")
    return None


def has_three_values(w):
    """Do floats hold 0 and plus or minus one number, and nothing else?"""
    return len(np.unique(np.abs(w[:8]))) <= 2 and len(np.unique(np.abs(w))) <= 2     # a few rows, then all


# ---- and with the other arrays

def of_arrays(arrays, spoken=None):
    """{name: array} -> Findings. spoken: which rows of the embedding are tokens that texts become, (V,) bool,
    or None: all."""
    for name, a in arrays.items():
        if is_bitlinear(name) or not a.ndim:
            continue
        largest, sums = 0.0, []
        for i in range(0, len(a), 4096):
            size = np.abs(widen(a[i:i + 4096]))
            largest = max(largest, float(size.max(initial=0)))
            sums.append(size.reshape(len(size), -1).max(1))
        rows = np.concatenate(sums) if sums else np.zeros(0)
        if largest > HUGE:
            yield Finding("number out of line", f"{name}: {largest:g} at most, where the median of its rows' "
                                                f"largest is {np.median(rows):g}")
        elif name.endswith("norm.weight") and (dead := int((rows == 0).sum())) > DEAD * len(a):
            yield Finding("dead gains", f"{name}: {dead:,} of {len(a):,} gains are 0")
        elif a.ndim == 2:
            empty = (rows == 0) & (True if spoken is None else spoken)
            if empty.any():
                yield Finding("empty rows", f"{name}: {empty.sum():,} of {len(a):,} rows are 0, from row "
                                            f"{int(empty.argmax()):,} on")


def of_config(c):
    """A ModelConfig -> a Finding where it is of a published model's sizes and not its other values."""
    sizes = c.vocab_size, c.d_model, c.n_layers, c.n_heads, c.n_kv_heads, c.d_ffn
    for (name, theirs), published in PUBLISHED.items():
        other = {key: value for key, value in published.items() if getattr(c, key) != value}
        if sizes == theirs and other:
            yield Finding("not as published", f"{name} has " + ", ".join(
                f"{key} = {value!r}, not {getattr(c, key)!r}" for key, value in other.items()))


# ---- the tokenizer

TEXTS = ("The quick brown fox jumps over the lazy dog.", "  two  spaces\n\n\ttab\r\n",
         "naïve façade — “déjà vu”", "日本語のテキスト", "emoji 👩‍🚀🎉",
         "x = [1, 22, 333]; y != x  # code", "ελληνικά и русский")
SAMPLE = 2000            # tokens that are looked at
MOST_UNREACHED = 0.05    # share of them


def of_tokenizer(tokenizer, ends):
    """A tokenizer, if there is one, and the ids that end a text -> Findings."""
    if tokenizer is None:
        return
    vocabulary = getattr(tokenizer, "vocabulary", None)
    for text in TEXTS:
        try:
            ids = tokenizer.encode(text)
        except UserError:                        # characters that it does not know
            continue
        expected = tokenizer.prepared(text) if vocabulary else text
        if (back := tokenizer.decode(ids)) != expected:
            yield Finding("tokenizer", f"{text!r} comes back as {back!r}")
            break
    if vocabulary:
        try:
            yield from of_ranks(tokenizer)
        except UserError as e:                   # a pattern that fails
            yield Finding("tokenizer", str(e))
    spoken = spoken_ids(tokenizer)
    if ends and spoken is not None and all(spoken[i] for i in ends):
        said = ", ".join(f"{i} ({tokenizer.decode([i])!r})" for i in ends)
        yield Finding("end of text", f"the end is token {said}, of which texts are made")


def of_ranks(tokenizer):
    """A byte-level BPE -> a Finding where many of its tokens are such that no text becomes them."""
    first = b" " if tokenizer.vocabulary.prefix_space else b""
    tokens = [token.decode() for token in tokenizer.vocabulary.ranks
              if token.startswith(first) and printable(token)]
    some = tokens[::max(1, len(tokens) // SAMPLE)]
    unreached = [text for text in some if len(tokenizer.encode(text)) > 1]
    if len(unreached) > MOST_UNREACHED * len(some):
        yield Finding("tokenizer", f"{len(unreached):,} of {len(some):,} tokens are never made, "
                                   f"{unreached[0]!r} for one: do its merges belong to it?")


def printable(token):
    """Is it text, and no piece of a character?"""
    try:
        return token.decode().isprintable()
    except UnicodeDecodeError:
        return False


def spoken_ids(tokenizer):
    """(V,) bool: which ids texts become; None where every one may be."""
    vocabulary = getattr(tokenizer, "vocabulary", None)
    if vocabulary is None:
        return None
    spoken = np.ones(tokenizer.vocab_size, bool)
    spoken[list(vocabulary.specials.values())] = False
    spoken[tokenizer.vocab_size - vocabulary.unused:] = False
    return spoken
