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
from collections import Counter, defaultdict
from heapq import heapify, heappop, heappush, heapreplace

from ..errors import UserError

MAX_RANKS = 2**20

# Words with the space or apostrophe before them, numbers of up to three digits, punctuation, and white
# space with control characters. Every character is in just one of the four classes, so that no text is
# lost. The classes are code-point ranges, because \s, \w and \d follow the Unicode tables, which are of
# different versions in Python and in tiktoken's Rust; and there is no look-ahead like [gpt2]'s \s+(?!\S),
# with which tiktoken backtracks and dies of a run of a million spaces.
_SPACE, _DIGIT = r"\x00-\x20\x7f", r"0-9"
_MARK = (r"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e"                 # of ASCII
         r"\x80-\xbf\u2000-\u206f\u3000-\u303f")                  # of Latin-1, general, CJK
PATTERN = f"[ ']?[^{_SPACE}{_DIGIT}{_MARK}]+| ?[{_DIGIT}]{{1,3}}| ?[{_MARK}]+|[{_SPACE}]+"


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
    iterable of them, which need not fit in memory together; progress wraps the loop over the joins."""
    words = Counter()                # piece -> how often it occurs; the order of pieces does not matter
    for text in chunks(texts):
        words.update(re.findall(PATTERN, characters_of(text)))
    words, times = [list(piece.encode()) for piece in words], list(words.values())   # a word: a list of ranks
    pairs, seen_in = Counter(), defaultdict(set)     # pair -> how often it occurs, which words (may) have it
    for w, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += times[w]
            seen_in[pair].add(w)
    queue = [(-n, pair) for pair, n in pairs.items()]
    heapify(queue)

    tokens = [bytes([b]) for b in range(256)]
    for new in progress(range(256, n_ranks)):
        pair = _most_frequent(queue, pairs)
        if pairs[pair] < 2:
            raise UserError(f"the text has no pair of tokens twice after {new:,} of {n_ranks:,} ranks: "
                            f"expected more text, or a vocabulary of at most {new + 1:,} (--tokenizer "
                            f"bpe:{new + 1}, or char)")
        tokens.append(tokens[pair[0]] + tokens[pair[1]])
        born = set()
        for w in seen_in.pop(pair):
            word, words[w] = words[w], _replace(words[w], pair, new)
            for gone in zip(word, word[1:]):
                pairs[gone] -= times[w]
            for there in zip(words[w], words[w][1:]):
                pairs[there] += times[w]
                if new in there:
                    seen_in[there].add(w)
                    born.add(there)
        for pair in born:                                  # no other pair has become more frequent
            heappush(queue, (-pairs[pair], pair))
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


def _replace(word, pair, new):
    """The word with every occurrence of the pair, from the left, replaced by the rank new."""
    out, i = [], 0
    while i < len(word):
        if word[i] == pair[0] and tuple(word[i:i + 2]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out
