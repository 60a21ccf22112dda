"""Tokenizers: text <-> token ids. ``char`` knows the characters of its corpus, ``byte`` the 256 byte
values, ``bpe`` joins of bytes.

Each has ``vocab_size``, ``encode(text) -> int32 array``, ``decode(ids) -> str``, ``count_bytes(ids)`` (of
UTF-8 that they stand for), ``decode_stream()`` (a function from one id to the text it completes), and
``to_json()`` for the file ``tokenizer.json`` of a run. ``end`` is the id of the token between documents, or
None: no text is encoded to it, it decodes to "" and is 0 bytes.

Surrogate code points (a command line that is not UTF-8 holds them) have no UTF-8: ``char`` treats them as
characters, ``byte`` gives each the three bytes that UTF-8's rule would, ``bpe`` reads them as U+FFFD (see
bpe.py).
"""
import codecs
import json
import unicodedata
from functools import cached_property

import numpy as np

from ..errors import UserError, brief
from . import bpe, bpe_files

EXPECTED = "char, byte, bpe:SIZE, or the path of a tokenizer.json or of a rank file"
MAX_PATTERN = 2000
LATER = {"prefix_space": bool, "nfc": bool, "unused": int}     # of a vocabulary, said where they are not 0
END_OR_NOT = {}, {"end": False}, {"end": True}     # what a tokenizer.json may say; early ones say nothing


class CharTokenizer:
    """One id per distinct character, in code-point order; with_end: one more."""

    def __init__(self, characters, with_end=False):
        self.characters = characters
        self._points = _code_points(characters)
        self._texts = [*characters, *[""] * with_end]
        self.vocab_size = len(self._texts)
        self.end = len(characters) if with_end else None

    def __repr__(self):
        return f"<CharTokenizer: {self.vocab_size:,} tokens, the end's is {self.end}>"

    @classmethod
    def train(cls, texts, with_end=False):
        characters = set()
        for text in bpe.chunks(texts):
            characters.update(text)
        return cls("".join(sorted(characters)), with_end)

    def encode(self, text):
        points = _code_points(_text(text))
        ids = np.searchsorted(self._points, points).clip(max=len(self.characters) - 1)
        unknown = self._points[ids] != points
        if unknown.any():
            first = chr(points[unknown.argmax()])
            raise UserError(f"{unknown.sum():,} of {len(text):,} characters are unknown to this model's "
                            f"character tokenizer, the first one {first!r} at {unknown.argmax():,}: expected "
                            f"only the {len(self.characters)} characters of its corpus (--tokenizer byte "
                            "knows every text)")
        return ids.astype(np.int32)

    def decode(self, ids):
        return "".join(self._texts[i] for i in _checked(ids, self.vocab_size))

    def count_bytes(self, ids):
        return len(self.decode(ids).encode("utf-8", "surrogatepass"))

    def decode_stream(self):
        return self._texts.__getitem__

    def to_json(self):
        return {"tokenizer": "char", "characters": self.characters, "end": self.end is not None}


class _ByteLevel:
    """What tokenizers share whose tokens are bytes; ``_bytes``: those of each id, b"" for a special token."""

    def __init__(self, tokens):
        self._bytes = tokens
        self._lengths = np.array([len(token) for token in tokens])
        self.vocab_size = len(tokens)

    def __repr__(self):
        return f"<{type(self).__name__}: {self.vocab_size:,} tokens, the end's is {self.end}>"

    def decode(self, ids):
        return b"".join(self._bytes[i] for i in _checked(ids, self.vocab_size)).decode("utf-8", "replace")

    def count_bytes(self, ids):      # decoding first would count a split character as U+FFFD
        return int(self._lengths[_checked(ids, self.vocab_size)].sum())

    def decode_stream(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda i: decoder.decode(self._bytes[i])


class ByteTokenizer(_ByteLevel):
    """One id per byte of the text's UTF-8; with_end: one more."""

    def __init__(self, with_end=False):
        super().__init__([bytes([b]) for b in range(256)] + [b""] * with_end)
        self.end = 256 if with_end else None

    def encode(self, text):
        return np.frombuffer(_text(text).encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32)

    def to_json(self):
        return {"tokenizer": "byte", "end": self.end is not None}


class BPETokenizer(_ByteLevel):
    """Byte-level BPE: the ranks are ids, but for those of special tokens, which mostly follow. tiktoken
    encodes, exactly as ``bpe.encode_plain`` does.

    Text that looks like a special token is text: "<|endoftext|>" in a corpus cannot end a document.
    """
    END_NAMES = (bpe_files.END_TOKEN, "<|end_of_text|>", "</s>")

    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        n, taken = len(vocabulary.ranks) + len(vocabulary.specials), set(vocabulary.specials.values())
        tokens = [b""] * (n + vocabulary.unused)
        self._ids = np.array([i for i in range(n) if i not in taken], np.int32)                # of each rank
        for token, rank in vocabulary.ranks.items():
            tokens[self._ids[rank]] = token
        super().__init__(tokens)
        self.end = next((vocabulary.specials[name] for name in self.END_NAMES
                         if name in vocabulary.specials), None)

    @cached_property
    def _tiktoken(self):
        return _encoding(self.vocabulary.pattern, self.vocabulary.ranks)

    def encode(self, text):
        text = self.prepared(text)
        try:
            ids = self._tiktoken.encode_to_numpy(text, disallowed_special=())
        except BaseException as e:   # a foreign pattern runs out of stack; some versions of tiktoken panic
            if not isinstance(e, ValueError) and type(e).__name__ != "PanicException":
                raise
            raise UserError(f"the pattern of this tokenizer fails on a text of {len(text):,} characters "
                            f"({e}): is there a very long run of spaces? "
                            f"{self.vocabulary.pattern[:60]!r}") from None
        ranks = ids.astype(np.int32)
        ids = self._ids[np.minimum(ranks, len(self._ids) - 1)]
        if ranks.max(initial=0) >= len(self._ids) or self._lengths[ids].sum() != len(text.encode()):
            raise UserError("the pattern of this tokenizer passes over parts of the text: expected one that "
                            f"cuts it into pieces, got {self.vocabulary.pattern[:60]!r}")
        return ids

    def prepared(self, text):
        """The text that is cut into pieces."""
        text = bpe.characters_of(_text(text))
        if self.vocabulary.nfc:
            text = unicodedata.normalize("NFC", text)
        return " " * (self.vocabulary.prefix_space and text[:1] not in ("", " ")) + text

    def to_json(self):
        tokens = [text.decode("ascii") for text in bpe_files.in_base64(self.vocabulary.ranks)]
        said = {key: value for key, value in self.vocabulary._asdict().items()
                if value or key not in LATER}
        return {"tokenizer": "bpe", **said, "ranks": tokens}


# ---- making and loading

def make_tokenizer(spec, text, with_end=False, progress=iter):
    """spec: "char" or "bpe:SIZE" (trained on text, a str or an iterable of them), "byte", or the path of a
    ``tokenizer.json`` (a run's or Hugging Face's) or rank file. with_end: whether there are documents to
    keep apart; bpe can always, and its SIZE counts that token, so that it is the model's vocab_size.
    progress: as of ``bpe.train``."""
    if spec == "char":
        return CharTokenizer.train(text, with_end)
    if spec == "byte":
        return ByteTokenizer(with_end)
    if spec.startswith("bpe:"):
        size = bpe_size(spec.removeprefix("bpe:"))
        return BPETokenizer(bpe_files.with_end(bpe.train(text, size - 1, progress)))
    return load_tokenizer(spec)


def bpe_size(text):
    """The vocabulary size of a "bpe:SIZE" -> int: the 256 bytes, the end token, and at most 2^20 ranks."""
    if not (text.isascii() and text.isdigit() and len(text) < 9 and 257 <= int(text) <= bpe.MAX_RANKS + 1):
        raise UserError(f"tokenizer 'bpe:{text[:40]}': expected a vocabulary size from 257 (256 bytes and "
                        f"an end token) to {bpe.MAX_RANKS + 1:,}, for instance bpe:512")
    return int(text)


def load_tokenizer(path):
    """Read a ``tokenizer.json`` or a rank file; UserError names the file and what is wrong with it."""
    try:
        data = bpe_files.read_file(path)
    except OSError as e:
        raise UserError(f"tokenizer {str(path)!r}: {e.strerror}; expected {EXPECTED}") from None
    if not str(path).endswith(".json") and not data.lstrip().startswith(b"{"):
        return BPETokenizer(bpe_files.with_end(bpe_files.parse_ranks(data, path)))
    try:
        saved = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise UserError(f"tokenizer {str(path)!r} is not JSON: expected a tokenizer.json saved by a run, or "
                        f"Hugging Face's") from None
    if isinstance(saved, dict) and "model" in saved:
        if isinstance(saved["model"], dict) and saved["model"].get("type") == "WordLevel":
            return CharTokenizer(*bpe_files.characters_from_huggingface(saved, path))
        return bpe_tokenizer(bpe_files.from_huggingface(saved, path), path)
    return from_json(saved, path)


def padded(tokenizer, vocab_size, path):
    """A tokenizer with as many ids as a model has, whose last ones may stand for nothing; UserError where it
    has more. path: for messages."""
    missing = vocab_size - tokenizer.vocab_size
    if missing < 0:
        raise UserError(f"{path} has {tokenizer.vocab_size:,} tokens, the model has {vocab_size:,}: the two "
                        "do not belong together")
    if not missing:
        return tokenizer
    if not isinstance(tokenizer, BPETokenizer):
        raise UserError(f"{path} has {tokenizer.vocab_size:,} tokens, the model has {vocab_size:,}: expected "
                        "as many")
    vocabulary = tokenizer.vocabulary
    return BPETokenizer(vocabulary._replace(unused=vocabulary.unused + missing))


def from_json(saved, path):
    """The contents of a run's tokenizer.json -> tokenizer."""
    match saved:
        case {"tokenizer": "byte", **rest} if rest in END_OR_NOT:
            return ByteTokenizer(rest.get("end", False))
        case {"tokenizer": "char", "characters": str(characters), **rest} if (
                rest in END_OR_NOT and characters and list(characters) == sorted(set(characters))):
            return CharTokenizer(characters, rest.get("end", False))
        case {"tokenizer": "bpe", "ranks": list(tokens), "pattern": str(pattern),
              "specials": dict(specials), "ignore_merges": bool(ignore_merges), **rest} if (
                all(type(value) is LATER.get(key) and 0 < value < 2**31 for key, value in rest.items())):
            ranks = bpe_files.ranks_of(tokens, lambda rank: f"{path}: rank {rank}", ignore_merges)
            bpe_files.check_specials(specials, len(ranks), path)
            return bpe_tokenizer(bpe_files.Vocabulary(ranks, pattern, specials, ignore_merges, **rest), path)
    raise UserError(f"tokenizer {str(path)!r} is not a tokenizer.json saved by a run: expected kind 'byte', "
                    "'char' with sorted, distinct characters, or 'bpe' with ranks, pattern and specials")


def bpe_tokenizer(vocabulary, path):
    """Vocabulary -> tokenizer; UserError if tiktoken cannot use its pattern."""
    pattern = vocabulary.pattern
    try:
        # deep nesting would overflow the parser's stack
        if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
            raise ValueError(f"expected a str of at most {MAX_PATTERN:,} characters")
        if pattern not in (bpe.PATTERN, bpe.EARLIER_PATTERN):
            _encoding(pattern, {bytes([b]): b for b in range(256)})
    except ValueError as e:
        raise UserError(f"{path}: its pattern {str(pattern)[:60]!r} does not compile: "
                        f"{str(e)[:120]}") from None
    return BPETokenizer(vocabulary)


def _encoding(pattern, ranks):
    """tiktoken's encoder. An empty match of a foreign pattern would make it panic, so the empty string has
    an id, the last; and without any special token its search for them, which we do not need, would look at
    every byte of a text, one by one."""
    import tiktoken
    return tiktoken.Encoding("minibitnet", pat_str=pattern, mergeable_ranks={**ranks, b"": len(ranks)},
                             special_tokens={bpe_files.END_TOKEN: len(ranks) + 1})


def _text(text):
    """UserError for what is no text."""
    if not isinstance(text, str):
        raise UserError(f"{brief(text)}: expected a text")
    return text


def _checked(ids, vocab_size):
    """Token ids -> array; UserError for what is none."""
    ids = np.asarray(ids)
    if ids.ndim != 1 or ids.size and (ids.dtype.kind not in "iu" or ids.min() < 0 or ids.max() >= vocab_size):
        raise UserError(f"token ids {brief(ids, 40, str)}: expected whole numbers from 0 to "
                        f"{vocab_size - 1:,}, in a list")
    return ids.astype(np.int64)


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
