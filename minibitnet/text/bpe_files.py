"""Vocabularies of byte-level BPE in files: tiktoken's rank files, and Hugging Face's ``tokenizer.json``.

A rank file has one line for each token, in rank order: the token in base64, one space, the rank. It says
nothing of how text is cut into pieces: one from elsewhere is read with our own pattern, and is then a
tokenizer of its own. A ``tokenizer.json`` keeps its pattern.

What passes the checks here cannot make tiktoken panic. (A panic in Rust is no ``Exception``: it would pass
every handler.)
"""
import base64
import binascii
import codecs
import json
import re
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..files import read_at_most, write_atomically
from .bpe import EARLIER_PATTERN, MAX_RANKS, PATTERN, join, pattern_of
from .kinds import kind_of

END_TOKEN = "<|endoftext|>"            # the token between documents
EVERY_CHARACTER = r"[\s\S]"
MAX_TOKEN_BYTES = 1024
MAX_FILE_BYTES = 2**26
# What Hugging Face's ByteLevel means:
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


class Vocabulary(NamedTuple):
    """{token bytes: rank} and what goes with it. Ids are those that the special tokens leave, in rank order:
    the ranks themselves where special tokens come last."""
    ranks: dict
    pattern: str                 # cuts text into pieces
    specials: dict               # {text: id}: tokens that no text becomes
    ignore_merges: bool = False  # True: what a whole piece becomes need not be the join of two other tokens
    prefix_space: bool = False   # True: a text that does not begin with a space gets one
    nfc: bool = False            # True: characters are composed first (Unicode's normal form C)
    unused: int = 0              # ids behind all others that stand for nothing, where a model has more


def with_end(ranks):
    """Ranks of our own -> Vocabulary, with the token END_TOKEN between documents."""
    return Vocabulary(ranks, pattern_of(ranks), {END_TOKEN: len(ranks)})


# ---- rank files

def read_file(path):
    """The bytes of a tokenizer's file."""
    if Path(path).exists() and not Path(path).is_file():           # a FIFO would be waited for without end
        raise UserError(f"tokenizer {str(path)!r}: expected a file")
    with open(path, "rb") as f:
        data = read_at_most(f, MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise UserError(f"tokenizer {str(path)!r} has more than {MAX_FILE_BYTES:,} bytes: expected a "
                        f"tokenizer.json or a rank file")
    if kind := kind_of(data):
        raise UserError(f"tokenizer {str(path)!r} is {kind}")
    return data


def parse_ranks(data, path):
    """The bytes of a rank file -> {token bytes: rank}; path is for messages."""
    tokens = []
    for rank, line in enumerate(data.removeprefix(codecs.BOM_UTF8).splitlines()):
        words = line.split(b" ")
        if len(words) != 2 or words[1] != b"%d" % rank:
            raise UserError(f"{path}:{rank + 1}: {_shown(line)}: expected a token in base64, one space and "
                            f"the rank {rank}; ranks count 0, 1, 2, ... line by line, without gap or repeat")
        tokens.append(words[0])
    return ranks_of(tokens, lambda rank: f"{path}:{rank + 1}")


def write_ranks(path, ranks):
    """{token bytes: rank} -> a rank file, written whole or not at all."""
    data = b"".join(b"%s %d\n" % (text, rank) for rank, text in enumerate(in_base64(ranks)))
    write_atomically(Path(path), [data], len(data))


def in_base64(ranks):
    """The tokens in rank order."""
    return [base64.b64encode(token) for token in sorted(ranks, key=ranks.get)]


def ranks_of(tokens, place, ignore_merges=False):
    """Tokens in base64, in rank order -> {token bytes: rank}, checked; place(rank) says where a token was
    read, for messages."""
    if len(tokens) > MAX_RANKS:
        raise UserError(f"{place(MAX_RANKS)}: {len(tokens):,} tokens: expected at most {MAX_RANKS:,}")
    ranks = {}
    for rank, text in enumerate(tokens):
        try:
            token = binascii.a2b_base64(text, strict_mode=True)
        except (ValueError, TypeError):                    # no base64; from JSON also no string
            token = b""
        if not 1 <= len(token) <= MAX_TOKEN_BYTES:
            raise UserError(f"{place(rank)}: {_shown(text)} is no token: expected 1 to {MAX_TOKEN_BYTES:,} "
                            f"bytes, in base64")
        if ranks.setdefault(token, rank) != rank:
            raise UserError(f"{place(rank)}: token {_shown(token)} has rank {ranks[token]} already: "
                            f"expected every token once")
    missing = [b for b in range(256) if bytes([b]) not in ranks]
    if missing:
        raise UserError(f"{place(max(len(tokens) - 1, 0))}: {len(tokens):,} tokens end here and byte "
                        f"0x{missing[0]:02x} is none of them: expected "
                        f"all 256, or some text would have no encoding; is the file whole, and is it a "
                        f"byte-level vocabulary?")
    for token, rank in ranks.items():
        if len(token) > 1 and not ignore_merges and not _is_join(token, rank, ranks):
            raise UserError(f"{place(rank)}: token {_shown(token)} is no join of two tokens of lower rank: "
                            f"expected every token of more than "
                            f"one byte to be (a vocabulary like Llama 3's, where some are not, loads from "
                            f"its tokenizer.json)")
    return ranks


def _is_join(token, rank, ranks):
    return any(ranks.get(token[:i], rank) < rank and ranks.get(token[i:], rank) < rank
               for i in range(len(token) - 1, 0, -1))


def check_specials(specials, n_ranks, path):
    """UserError unless specials is {text: id} with ids that leave one to every rank; path is for
    messages."""
    ids, size = list(specials.values()), n_ranks + len(specials)
    if not all(type(i) is int and 0 <= i < size for i in ids) or len(set(ids)) < len(ids):
        raise UserError(f"{path}: special tokens {_shown(specials)}: expected ids from 0 to {size - 1:,}, "
                        f"each of its own, beside those of {n_ranks:,} ranks")


# ---- Hugging Face

def from_huggingface(saved, path):
    """The contents of a byte-level ``tokenizer.json`` -> Vocabulary; path is for messages.

    There, the priority of a join is its place in a list of merges; here it is the rank of the token that it
    makes. The two are the same if ids rise along the list, which is checked. Under ignore_merges (Llama 3,
    where 588 tokens are made by no merge) the list may name several ways to one token.
    """
    try:
        vocabulary = _converted(saved)
    except UserError as e:
        raise UserError(f"{path}: {e}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise UserError(f"{path} is not a byte-level BPE tokenizer.json of Hugging Face: expected its keys "
                        f"model, pre_tokenizer and "
                        f"added_tokens, found {type(e).__name__}: {_shown(e)}") from None
    check_specials(vocabulary.specials, len(vocabulary.ranks), path)
    return vocabulary


def characters_from_huggingface(saved, path):
    """The contents of a ``tokenizer.json`` whose words are single characters, as ``to_huggingface`` writes it
    -> (the characters, in the order of their ids; is there an end token behind them?)"""
    try:
        ids, added = saved["model"]["vocab"], [token["id"] for token in saved.get("added_tokens") or ()]
        cut, characters = saved["pre_tokenizer"]["pattern"]["Regex"], sorted(ids, key=ids.get)
        sound = (cut == EVERY_CHARACTER and not saved.get("normalizer") and characters
                 and characters == sorted(set(characters)) and all(len(c) == 1 for c in characters)
                 and [*map(ids.get, characters), *added] == list(range(len(ids) + len(added)))
                 and len(added) <= 1)
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise UserError(f"{path}: its model is of type 'WordLevel': expected BPE over bytes, or single "
                        "characters, in the order of their code points, and one special token at most")
    return "".join(characters), bool(added)


def to_huggingface(tokenizer, begin=None, ends=()):
    """A tokenizer -> {file name: contents} of the files that ``transformers`` reads: tokenizer.json, which
    encodes alike, and tokenizer_config.json. begin: the id that a text begins with, or None. UserError for
    what the format has not."""
    said = tokenizer.to_json()
    if said.get("prefix_space") and said["pattern"] != GPT2_PATTERN:
        raise UserError(f"{tokenizer!r} cuts by a pattern of its own and puts a space in front: expected one "
                        "of the two, for tokenizer.json cannot say both")
    names = {i: text for text, i in said.get("specials", {}).items()}
    if said["tokenizer"] == "char":
        model = {"type": "WordLevel", "vocab": {c: i for i, c in enumerate(said["characters"])},
                 "unk_token": ""}
        pre_tokenizer, decoder = _split(EVERY_CHARACTER), {"type": "Fuse"}
    else:
        v = getattr(tokenizer, "vocabulary", None) or Vocabulary({bytes([b]): b for b in range(256)},
                                                                 r"[\s\S]+", {})
        written = {b: c for c, b in _byte_alphabet().items()}
        text_of = {token: "".join(written[b] for b in token) for token in v.ranks}
        ids = [i for i in range(len(v.ranks) + len(v.specials)) if i not in v.specials.values()]
        merges = [[text_of[part] for part in parts] for token, rank in sorted(
            v.ranks.items(), key=lambda item: item[1]) if len(token) > 1
            and len(parts := join(token, v.ranks, below=rank)) == 2]
        model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                 "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                 "ignore_merges": v.ignore_merges,
                 "vocab": {text_of[token]: ids[rank] for token, rank in v.ranks.items()}, "merges": merges}
        byte_level = {"type": "ByteLevel", "add_prefix_space": v.prefix_space, "trim_offsets": True,
                      "use_regex": v.pattern == GPT2_PATTERN}
        pre_tokenizer = byte_level if v.pattern == GPT2_PATTERN else split_by(v.pattern)
        decoder = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    if tokenizer.end is not None and not names:
        names = {tokenizer.end: END_TOKEN}
    added = [{"id": i, "content": names[i], "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i in sorted(names)]
    first = names.get(begin)
    template = first and {
        "type": "TemplateProcessing", "single": [_special(first), _sequence("A")],
        "pair": [_special(first), _sequence("A"), _sequence("B")],
        "special_tokens": {first: {"id": first, "ids": [begin], "tokens": [first]}}}
    end = next((names[i] for i in ends if i in names), None)
    file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "NFC"} if said.get("nfc") else None, "pre_tokenizer": pre_tokenizer,
            "post_processor": template, "decoder": decoder, "model": model}
    return {"tokenizer.json": file, "tokenizer_config.json": {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": first, "eos_token": end,
        "clean_up_tokenization_spaces": False}}


def portable(pattern):
    """The pattern with u0080 for x80, behind the backslash: Oniguruma, with which their library reads it,
    takes the latter for a byte."""
    return re.sub(r"\\x([89a-f][0-9a-f])", r"\\u00\1", pattern)


def split_by(pattern):
    """The pre_tokenizer that cuts by a pattern, and takes bytes."""
    pattern = portable(pattern)
    return {"type": "Sequence", "pretokenizers": [
        _split(pattern), {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                          "use_regex": False}]}


def _split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _special(text):
    return {"SpecialToken": {"id": text, "type_id": 0}}


def _sequence(name):
    return {"Sequence": {"id": name, "type_id": 0}}


def _converted(saved):
    model = saved["model"]
    normalizer = saved.get("normalizer")
    _check_kind(model | {"normalizer": None if normalizer == {"type": "NFC"} else normalizer})
    added = saved.get("added_tokens") or ()
    if not all(isinstance(token["content"], str) for token in added):
        raise UserError(f"its added tokens {_shown(added)}: expected texts")
    specials = {token["content"]: token["id"] for token in added}
    of_text = [token["content"] for token in added if token.get("special") is False]
    if of_text:
        raise UserError(f"its added tokens {_shown(of_text)} are not special: expected none that stand for "
                        f"text, which they cut before the merges do")
    ids = {text: i for text, i in model["vocab"].items() if text not in specials}
    texts, byte_of, ignore_merges = (sorted(ids, key=ids.get), _byte_alphabet(),
                                     model.get("ignore_merges") is True)
    token_of = {text: bytes(byte_of[c] for c in text) for text in texts}
    ranks = ranks_of([base64.b64encode(token) for token in token_of.values()], lambda rank: f"id {rank}",
                     ignore_merges=True)
    size = len(texts) + len(specials)
    if sorted([*ids.values(), *specials.values()]) != list(range(size)):
        raise UserError(f"the ids of its {len(texts):,} tokens and {len(specials):,} special (added) ones "
                        f"are not 0 to {size - 1:,}: expected each once")
    merges = [tuple(merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"]]
    _check_merges([(token_of[left], token_of[right]) for left, right in merges], ranks, ignore_merges)
    pattern, prefix_space = _pattern(saved["pre_tokenizer"])
    return Vocabulary(ranks, pattern, specials, ignore_merges, prefix_space, bool(saved.get("normalizer")))


def _check_kind(model):
    if model.get("type", "BPE") != "BPE":
        raise UserError(f"its model is of type {_shown(model['type'])}: expected BPE over bytes; this kind "
                        f"has no ranks")
    for key in ("byte_fallback", "continuing_subword_prefix", "end_of_word_suffix", "dropout", "normalizer"):
        if model.get(key):
            raise UserError(f"it has {key} = {json.dumps(model[key])[:60]}: expected BPE over the bytes of "
                            f"the text as it is, without; "
                            f"vocabularies of SentencePiece cannot be converted")


def _check_merges(merges, ranks, ignore_merges):
    """UserError unless joining by rank does what the list of merges does."""
    made = [ranks[left + right] for left, right in merges]
    for k in range(1, len(made)):
        if made[k - 1] > made[k] or (made[k - 1] == made[k] and not ignore_merges):
            raise UserError(f"merge {k + 1} makes id {made[k]} after id {made[k - 1]}: expected ids that "
                            f"rise along the merges, for ranks to mean "
                            f"the same")
    if ignore_merges:
        return
    if len(made) != len(ranks) - 256:
        raise UserError(f"{len(made):,} merges for {len(ranks) - 256:,} tokens of more than one byte: "
                        f"expected one for each")
    for rank, (left, right) in zip(made, merges):
        if join(left + right, ranks, below=rank) != [left, right]:
            raise UserError(f"the merge of {_shown(left)} and {_shown(right)} can never happen: those "
                            f"before it join the bytes in another way")


def _pattern(pre_tokenizer):
    """Its regular expression, ByteLevel's own or that of the one Split before a ByteLevel without; and
    whether it puts a space in front."""
    *first, last = pre_tokenizer["pretokenizers"] if pre_tokenizer["type"] == "Sequence" else [pre_tokenizer]
    if last["type"] == "ByteLevel":
        space = last.get("add_prefix_space", True) is True
        if not first and last.get("use_regex", True):
            return GPT2_PATTERN, space
        alone = not space and not last.get("use_regex", True)
        if alone and len(first) == 1 and first[0]["type"] == "Split" and \
                (first[0]["behavior"], first[0]["invert"]) in (("Isolated", False), ("Removed", True)):
            pattern = first[0]["pattern"]["Regex"]
            return {portable(ours): ours for ours in (PATTERN, EARLIER_PATTERN)}.get(pattern, pattern), False
    raise UserError(f"its pre_tokenizer is {json.dumps(pre_tokenizer)[:120]}: expected ByteLevel, alone or, "
                    "without add_prefix_space, after one Split by a regular expression")


def _byte_alphabet():
    """{character: byte}: printable bytes of Latin-1 stand for themselves, the others, in order, are written
    U+0100, U+0101, ..."""
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + k): b for k, b in enumerate(others)}


def _shown(x):
    return repr(x)[:60]
