"""Byte-level byte-pair encoding [bpe]: a vocabulary is {token bytes: rank}, learned by joining the most
frequent pair, again and again. The 256 bytes are tokens from the start, so every text has an encoding.

Text is first cut into pieces (``PATTERN``), and tokens never cross from one piece into the next. Within a
piece the pair with the lowest rank is joined, the leftmost one first, until no pair is a token
(``encode_plain``, the specification; the library tiktoken does the same, fast). Training makes the ranks:
the pair of neighbours that occurs most often becomes the next token; of equally frequent pairs, the one
whose left token is older (has the lower rank), then whose right token is.

A surrogate code point is not a character and has no UTF-8: two that form a pair are read as the character
they stand for, a lone one as U+FFFD, which is what tiktoken does, too.

Sources: [bpe] Sennrich et al., arXiv 1508.07909 · [gpt2] Radford et al., "Language Models are Unsupervised
Multitask Learners".
"""
import re
from collections import Counter
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np

from ..errors import UserError

MAX_RANKS = 2**20
NONE = -1            # between two pieces, and inside a token

# Words with the space or apostrophe before them, numbers of up to three digits, punctuation, and white
# space with control characters. Every character is in just one of the four classes, so that no text is
# lost. The classes are code-point ranges, because \s, \w and \d follow the Unicode tables, which are of
# different versions in Python and in tiktoken's Rust; and there is no look-ahead like [gpt2]'s \s+(?!\S),
# with which tiktoken backtracks and dies of a run of a million spaces.
_SPACE, _DIGIT = r"\x00-\x20\x7f", r"0-9"
_MARK = (r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e"                 # of ASCII
         r"\x80-\xbf\u2000-\u206f\u3000-\u303f")                  # of Latin-1, general, CJK
_WIDE = r"\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"          # full-width and kin


def _pattern(mark):
    return f"[ ']?[^{_SPACE}{_DIGIT}{mark}]+| ?[{_DIGIT}]{{1,3}}| ?[{mark}]+|[{_SPACE}]+"


PATTERN, EARLIER_PATTERN = _pattern(_MARK + _WIDE), _pattern(_MARK)


def pattern_of(ranks):
    """The pattern that goes with ranks of our own. The earlier one takes full-width punctuation for letters.
    Where every token of more than one byte is ASCII both give the same tokens for every text, and the earlier
    one is kept: a tokenizer.json stays the same to the last byte."""
    return EARLIER_PATTERN if all(len(token) == 1 or token.isascii() for token in ranks) else PATTERN


# ---- encoding

def encode_plain(text, ranks):
    """The specification: text -> list of ranks, in plain Python."""
    pieces = (piece.encode() for piece in re.findall(PATTERN, characters_of(text)))
    return [ranks[token] for piece in pieces for token in ([piece] if piece in ranks else join(piece, ranks))]


def join(piece, ranks, below=MAX_RANKS):
    """Bytes -> the tokens that stand for them. Only joins with a rank lower than ``below`` are made."""
    tokens = [piece[i:i + 1] for i in range(len(piece))]
    while len(tokens) > 1:
        joins = [ranks.get(left + right, below) for left, right in zip(tokens, tokens[1:])]
        lowest = min(joins)
        if lowest >= below:
            break
        i = joins.index(lowest)
        tokens[i:i + 2] = [tokens[i] + tokens[i + 1]]
    return tokens


def characters_of(text):
    """The text with its surrogates read as the module's docstring says."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


# ---- training

def train(texts, n_ranks, progress=iter):
    """Learn {token bytes: rank}: the 256 bytes in order, then n_ranks - 256 joins. texts: a str or an
    iterable of them, which need not fit in memory together; progress wraps the loop over the joins.

    All different pieces lie in one line, with a NONE before and after each, each byte at its place. A token
    is noted at its first and at its last place, so that its neighbours are found from there, and a join costs
    what is joined, however long a piece is.
    """
    pieces = Counter()                   # piece -> how often it occurs; the order of pieces does not matter
    for text in chunks(texts):
        pieces.update(re.findall(PATTERN, characters_of(text)))
    encoded = [b" ", *(piece.encode() + b" " for piece in pieces)]
    sizes = np.array([len(piece) for piece in encoded])
    line = np.frombuffer(b"".join(encoded), np.uint8).astype(np.int32)
    line[np.cumsum(sizes) - 1] = NONE
    times = np.repeat(np.array([0, *pieces.values()], np.int64), sizes)   # of the piece that a place is in
    at = np.flatnonzero((line[:-1] != NONE) & (line[1:] != NONE))
    pairs, places = Counter(), {}        # pair -> how often it occurs, where it begins (joins took some)
    for code, n, where in _by_token(line[at] << 8 | line[at + 1], at, times):
        pairs[divmod(code, 256)], places[divmod(code, 256)] = n, where
    queue = [(-n, pair) for pair, n in pairs.items()]
    heapify(queue)

    tokens = [bytes([b]) for b in range(256)]
    for new in progress(range(256, n_ranks)):
        pair = _most_frequent(queue, pairs)
        if pairs[pair] < 2:
            raise UserError(f"the text has no pair of tokens twice after {new:,} of {n_ranks:,} ranks: "
                            f"expected more text, or a vocabulary of at most {new + 1:,} (--tokenizer "
                            f"bpe:{new + 1}, or char)")
        left, right = pair
        tokens.append(tokens[left] + tokens[right])
        at = _join_all(places.pop(pair), line, pair, len(tokens[left]), new, len(tokens[new]))
        before, after = line[at - 1], line[at + len(tokens[new])]
        both = after == new                                # two joins side by side: told as before the second
        born = [((right if token == new else token, left), (token, new), n, where - len(tokens[token]))
                for token, n, where in _by_token(before, at, times)]
        born += [((right, token), (new, token), n, where)
                 for token, n, where in _by_token(after[~both], at[~both], times)]
        for gone, there, n, where in born:                 # no other pair has become more frequent
            pairs[gone] -= n
            pairs[there], places[there] = n, where
            heappush(queue, (-n, there))
        del pairs[pair]
    return {token: rank for rank, token in enumerate(tokens)}


def chunks(texts):
    """A str or an iterable of str -> an iterable of str. (A str is an iterable of its characters, which is
    never meant.)"""
    return [texts] if isinstance(texts, str) else texts


def _most_frequent(queue, pairs):
    """Take the pair off the queue that is first by (-count, pair). An entry whose count has fallen since
    goes back with it."""
    while queue:
        count, pair = queue[0]
        if -count == pairs[pair]:
            return heappop(queue)[1]
        heapreplace(queue, (-pairs[pair], pair))
    return None


def _join_all(at, line, pair, to_right, new, size):
    """Put the rank new into the line at the places of a pair that are still there, from the left -> those
    places. to_right, size: the bytes of the pair's left token and of the new one."""
    at = at[(line[at] == pair[0]) & (line[at + to_right] == pair[1])]
    if pair[0] == pair[1]:                                 # of a run of overlapping ones every other
        number = np.arange(len(at))
        begins = np.diff(at, prepend=-size) != to_right
        at = at[(number - np.maximum.accumulate(number * begins)) % 2 == 0]
    line[at + to_right - 1] = line[at + to_right] = NONE
    line[at] = line[at + size - 1] = new
    return at


def _by_token(tokens, at, times):
    """Yield each token but NONE, how often its places occur, and those places, from the left."""
    order = np.argsort(tokens, kind="stable")
    order = order[np.searchsorted(tokens, NONE, "right", sorter=order):]          # NONE is the lowest
    tokens, at = tokens[order], at[order]
    starts = np.flatnonzero(np.diff(tokens, prepend=NONE))
    if len(starts):
        yield from zip(tokens[starts].tolist(), np.add.reduceat(times[at], starts).tolist(),
                       np.split(at, starts[1:]))
