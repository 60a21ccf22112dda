"""Tokenizers: text <-> token ids. ``char`` knows the characters of its corpus, ``byte`` the 256 byte values.

Each has ``vocab_size``, ``encode(text) -> int32 array``, ``decode(ids) -> str``, ``count_bytes(ids)`` (of UTF-8 that they
stand for), ``decode_stream()`` (a function from one id to the text it completes), and ``to_json()`` for the file ``tokenizer.json`` of a run.
"""
import codecs
import json

import numpy as np

from ..errors import UserError

KINDS = ("char", "byte")


class CharTokenizer:
    """One id per distinct character, in code-point order."""

    def __init__(self, characters):
        self.characters = characters
        self._points = _code_points(characters)
        self.vocab_size = len(characters)

    @classmethod
    def train(cls, text):
        return cls("".join(sorted(set(text))))

    def encode(self, text):
        points = _code_points(text)
        ids = np.searchsorted(self._points, points).clip(max=self.vocab_size - 1)
        unknown = self._points[ids] != points
        if unknown.any():
            first = chr(points[unknown.argmax()])
            raise UserError(f"{unknown.sum():,} of {len(text):,} characters are unknown to this model's character "
                            f"tokenizer, the first one {first!r} at {unknown.argmax():,}: expected only the "
                            f"{self.vocab_size} characters of its corpus (--tokenizer byte knows every text)")
        return ids.astype(np.int32)

    def decode(self, ids):
        return "".join(self.characters[i] for i in ids)

    def count_bytes(self, ids):
        return len(self.decode(ids).encode("utf-8", "surrogatepass"))

    def decode_stream(self):
        return self.characters.__getitem__

    def to_json(self):
        return {"tokenizer": "char", "characters": self.characters}


class ByteTokenizer:
    """One id per byte of the text's UTF-8."""
    vocab_size = 256

    def encode(self, text):
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int32)

    def decode(self, ids):
        return np.asarray(ids, np.uint8).tobytes().decode("utf-8", "replace")

    def count_bytes(self, ids):
        return len(ids)              # decoding first would count a split character as U+FFFD

    def decode_stream(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda i: decoder.decode(bytes([i]))

    def to_json(self):
        return {"tokenizer": "byte"}


def make_tokenizer(spec, text):
    """spec: "char" (trained on text), "byte", or the path of a saved ``tokenizer.json``."""
    if spec == "char":
        return CharTokenizer.train(text)
    if spec == "byte":
        return ByteTokenizer()
    return load_tokenizer(spec)


def load_tokenizer(path):
    """Read a ``tokenizer.json``; UserError names the file and what is wrong with it."""
    try:
        with open(path, encoding="utf-8") as f:
            saved = json.load(f)
    except OSError as e:
        raise UserError(f"tokenizer {str(path)!r}: {e.strerror}; expected {', '.join(KINDS)} or a saved "
                        f"tokenizer.json") from None
    except (ValueError, RecursionError):
        raise UserError(f"tokenizer {str(path)!r} is not JSON: expected a tokenizer.json saved by a run") from None
    if saved == {"tokenizer": "byte"}:
        return ByteTokenizer()
    characters = saved.get("characters") if isinstance(saved, dict) and saved.get("tokenizer") == "char" else None
    if not isinstance(characters, str) or not characters or list(characters) != sorted(set(characters)):
        raise UserError(f"tokenizer {str(path)!r} is not a tokenizer.json saved by a run: expected kind 'byte', or "
                        f"'char' with sorted, distinct characters")
    return CharTokenizer(characters)


def _code_points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
