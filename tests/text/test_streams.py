"""Token streams: the layout, and that cutting the text changes no token."""
import hashlib
import os
import random
import sys
import tracemalloc

import numpy as np
import pytest
import tiktoken

from minibitnet.text import corpora
from minibitnet.text.corpora import DOCUMENT_END, load_corpus, pieces
from minibitnet.text.streams import (TokenStream, dtype_of, encode_to_file, is_whole, open_stream,
                                     sums_path, token_stream)
from minibitnet.text.tokenizer import ByteTokenizer, CharTokenizer

# Pre-tokens as GPT-2 and as cl100k make them, in the terms of their published patterns.
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CL100K = (r"(?i:'(?:[sdmt]|ll|ve|re))|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| "
          r"?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
MERGES = [b"th", b"the", b" t", b" the", b"\n\n", b".\n", b".\n\n", b"  ", b"an", b"and", b" a", b" and",
          b"\r\n", b" \n", b"ab", b"aba",
          "é".encode(), b"12", b"123"]


class LittleBPE:
    """A tokenizer of 256 bytes, a few merges and an end token, on tiktoken."""

    def __init__(self, pattern):
        ranks = {bytes([b]): b for b in range(256)} | {merge: 256 + i for i, merge in enumerate(MERGES)}
        self.encoding = tiktoken.Encoding("little", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
        self.pattern, self.end, self.vocab_size = pattern, len(ranks), len(ranks) + 1

    def encode(self, text):
        return np.array(self.encoding.encode_ordinary(text), np.int32)

    def to_json(self):
        return {"tokenizer": "little", "pattern": self.pattern}


def text_of(seed, n=600):
    rng = random.Random(seed)
    return "".join(rng.choice(["the", " the", " ", "  ", "\n", "\n\n", "\r\n", ".", ".\n", "'s", "and",
                               " and", "aba", "é", "你好", "。", "🙂",
                               "\t", "1234", "/", "/x", "_", "e\u0301", "\u00a0", "\x1c", "A", "!\n",
                               "x<|endoftext|>"]) for _ in range(n))


@pytest.fixture(autouse=True)
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIBITNET_DATA", str(tmp_path / "data"))


@pytest.fixture
def corpus_of(tmp_path, monkeypatch):
    """A function (text, size of a piece or None) -> Corpus; with a size it is read from its file in such
    pieces."""
    def corpus_of(text, size=None):
        (tmp_path / "book.txt").write_bytes(text.encode())
        monkeypatch.setattr(corpora, "IN_MEMORY", 0 if size else 10**9)
        monkeypatch.setattr(corpora, "PIECE", size)
        return load_corpus(str(tmp_path / "book.txt"))
    return corpus_of


DOCUMENTS = "ab\n<|endoftext|>\nc\nd\n<|endoftext|>\n"


def test_a_stream_by_pencil(corpus_of):
    """Two documents "ab" and "c\\nd", 275 the end: 275 a b 275 c newline d 275; "ab" is one token of the
    table, 270."""
    tokenizer = LittleBPE(GPT2)
    tokens, starts = token_stream(corpus_of(DOCUMENTS), tokenizer)
    assert tokens.tolist() == [275, 270, 275, 99, 10, 100, 275] and starts.tolist() == [0, 2]
    assert tokens.dtype == np.int32 and starts.dtype == np.int64


def test_without_documents_or_an_end_token_the_text_is_encoded_as_it_is(corpus_of):
    tokens, starts = token_stream(corpus_of("the end"), LittleBPE(GPT2))
    assert tokens.tolist() == LittleBPE(GPT2).encode("the end").tolist() and starts is None
    for tokenizer in (ByteTokenizer(), CharTokenizer.train(DOCUMENTS)):
        tokens, starts = token_stream(corpus_of(DOCUMENTS), tokenizer)
        assert tokenizer.decode(tokens) == DOCUMENTS and starts is None


def test_empty_documents_leave_one_end(corpus_of):
    for size in (None, 5):
        tokens, starts = token_stream(corpus_of("<|endoftext|>\n<|endoftext|>\n", size), LittleBPE(GPT2))
        assert tokens.tolist() == [275] and starts.tolist() == []


@pytest.mark.parametrize("size", [7, 64, 1000])
@pytest.mark.parametrize("tokenizer", [LittleBPE(GPT2), LittleBPE(CL100K), ByteTokenizer(),
                                       CharTokenizer.train(text_of(0, 5000))],
                         ids=["gpt2", "cl100k", "byte", "char"])
def test_streaming_in_small_chunks_gives_the_tokens_of_the_whole(tokenizer, size, corpus_of):
    """Characters of several bytes lie across the chunks' borders, white space and line ends of every kind
    across the cuts."""
    for seed in range(8):
        text = text_of(seed)
        tokens, starts = token_stream(corpus_of(text, size), tokenizer)
        assert isinstance(tokens, np.memmap) and starts is None
        assert np.array_equal(tokens, tokenizer.encode(text))


@pytest.mark.parametrize("size", [7, 64, 1000])
def test_streaming_documents_gives_the_stream_that_is_made_in_memory(size, corpus_of):
    text = "".join(text_of(seed, 40 * seed) + "\n<|endoftext|>\n" for seed in range(9))
    tokenizer = LittleBPE(GPT2)
    small, large = (token_stream(corpus_of(text, size), tokenizer) for size in (None, size))
    assert np.array_equal(small.tokens, large.tokens) and np.array_equal(small.starts, large.starts)
    assert len(small.starts) == 8
    # the first one is empty and left out
    whole = [tokenizer.encode(text_of(seed, 40 * seed)) for seed in range(1, 9)]
    assert np.array_equal(large.tokens,
                          np.concatenate([np.concatenate([[tokenizer.end], ids]) for ids in whole]
                                         + [[tokenizer.end]]))
    assert np.array_equal(np.flatnonzero(large.tokens == tokenizer.end)[:-1], large.starts)


def test_there_is_a_cut_in_every_ordinary_text():
    """Or the tests above would hold trivially: 64 characters at a time, most pieces are short."""
    text = text_of(0)
    chunks = [text[i:i + 64] for i in range(0, len(text), 64)]
    lengths = [len(p) for p in pieces(chunks) if p is not DOCUMENT_END]
    assert len(lengths) > 20 and max(lengths) < 200


@pytest.mark.parametrize("pattern, careless", [(GPT2, lambda text: text.rfind("\n") + 1),
                                               (CL100K, lambda text: max(text.rfind("\n"), 0)),
                                               (GPT2, lambda text: len(text) - 1)],
                         ids=["after a line end", "before a line end", "anywhere"])
def test_a_careless_cut_changes_tokens_and_is_seen(pattern, careless, corpus_of, monkeypatch):
    monkeypatch.setattr(corpora, "safe_cut", careless)
    tokenizer, text = LittleBPE(pattern), "the end.\n\nAnd the\n\n  and " * 20
    assert not np.array_equal(token_stream(corpus_of(text, 7), tokenizer).tokens, tokenizer.encode(text))


def bytes_read(corpus, tokenizer):
    """How many bytes of text a call of token_stream encodes, and its stream."""
    done = []
    return token_stream(corpus, tokenizer, report=done.append), sum(done)


def test_a_stream_is_made_once_and_is_tied_to_text_and_tokenizer(corpus_of, tmp_path):
    """The second call encodes no byte; another text and another tokenizer have files of their own."""
    streams, tokenizer = tmp_path / "data/streams", LittleBPE(GPT2)
    assert bytes_read(corpus_of(DOCUMENTS, 5), tokenizer)[1] == len(DOCUMENTS)
    assert sorted(p.suffix for p in streams.iterdir()) == [".sha256", ".starts", ".tokens"]
    assert bytes_read(corpus_of(DOCUMENTS, 5), tokenizer)[1] == 0
    assert bytes_read(corpus_of(DOCUMENTS + "x", 5), tokenizer)[1] == len(DOCUMENTS) + 1
    assert bytes_read(corpus_of(DOCUMENTS, 5), LittleBPE(CL100K))[1] == len(DOCUMENTS)
    assert len(list(streams.glob("*.tokens"))) == 3


@pytest.mark.parametrize("suffix", [".tokens", ".starts", ".sha256"])
@pytest.mark.parametrize("damage", [lambda raw: b"", lambda raw: raw[:-2], lambda raw: raw[:1],
                                    lambda raw: raw + b"\0", lambda raw: b"\xff" * len(raw),
                                    lambda raw: raw[:2] + bytes([raw[2] ^ 1]) + raw[3:], None],
                         ids=["emptied", "cut", "cut to one byte", "longer", "other bytes", "one bit",
                              "missing"])
def test_a_damaged_stream_is_made_anew(suffix, damage, corpus_of, tmp_path):
    """Unseen, it would train on other tokens, or split the text elsewhere, without a word."""
    corpus, tokenizer = corpus_of(DOCUMENTS, 5), LittleBPE(GPT2)
    token_stream(corpus, tokenizer)
    path, = (tmp_path / "data/streams").glob("*" + suffix)
    raw = path.read_bytes()
    path.write_bytes(damage(raw)) if damage else path.unlink()
    (tokens, starts), encoded = bytes_read(corpus, tokenizer)
    assert tokens.tolist() == [275, 270, 275, 99, 10, 100, 275] and starts.tolist() == [0, 2]
    assert encoded == len(DOCUMENTS) and path.read_bytes() == raw


def test_the_sums_are_those_that_sha256sum_checks(corpus_of, tmp_path):
    encode_to_file(corpus_of(DOCUMENTS, 5), LittleBPE(GPT2), tmp_path / "s.tokens", True)
    lines = [f"{hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()}  {name}"
             for name in ("s.tokens", "s.starts")]
    assert (tmp_path / "s.sha256").read_text().splitlines() == lines


@pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux alone")
def test_the_name_of_a_text_need_not_be_utf_8(corpus_of, tmp_path):
    target = tmp_path / os.fsdecode(b"b\xff.tokens")
    encode_to_file(corpus_of(DOCUMENTS, 5), LittleBPE(GPT2), target, True)
    assert is_whole(target) and b"  b\xff.tokens\n" in sums_path(target).read_bytes()


def test_bytes_on_disk_are_little_endian_and_wide_enough(corpus_of, tmp_path):
    """The end token 275 = 0x0113 is the bytes 13 01, or 13 01 00 00 where the vocabulary needs more than 16
    bits."""
    tokenizer = LittleBPE(GPT2)
    corpus = corpus_of(DOCUMENTS, 5)
    encode_to_file(corpus, tokenizer, tmp_path / "two.tokens", True)
    assert (tmp_path / "two.tokens").read_bytes()[:4] == b"\x13\x01\x0e\x01"
    assert (tmp_path / "two.starts").read_bytes() == bytes(8) + b"\x02" + bytes(7)
    tokenizer.vocab_size = 2**16 + 1
    encode_to_file(corpus, tokenizer, tmp_path / "four.tokens", True)
    assert (tmp_path / "four.tokens").read_bytes()[:8] == b"\x13\x01\x00\x00\x0e\x01\x00\x00"
    tokens, starts = open_stream(tmp_path / "four.tokens", tokenizer, True)
    assert tokens.tolist() == [275, 270, 275, 99, 10, 100, 275] and starts.tolist() == [0, 2]
    assert not tokens.flags.writeable
    tokenizer.vocab_size = 2**16
    assert dtype_of(tokenizer) == np.uint16


def test_an_interruption_leaves_no_stream(corpus_of, tmp_path):
    def interrupt(n):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        token_stream(corpus_of(DOCUMENTS, 5), LittleBPE(GPT2), report=interrupt)
    assert list((tmp_path / "data/streams").iterdir()) == []


def test_memory_grows_by_the_starts_alone(corpus_of, tmp_path):
    """Four times the text needs less than a tenth more, and 8 bytes a document (an array that grows has up
    to an eighth to spare, and may be moved once); a text held whole would need 13 bytes more for every
    line."""
    def peak(text, documents):
        corpus = corpus_of(text, 2**14)
        tracemalloc.start()
        encode_to_file(corpus, ByteTokenizer(with_end=True), tmp_path / "t.tokens", documents)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak
    for text, documents in (("word and word\n" * 20_000, 0),
                            ("word and word\n<|endoftext|>\n" * 10_000, 10_000)):
        assert peak(text * 4, documents > 0) < 1.1 * peak(text, documents > 0) + 3 * documents * 8 * 2.2


def test_progress_counts_every_byte(corpus_of):
    for size in (None, 5):
        done = []
        token_stream(corpus_of(DOCUMENTS, size), LittleBPE(GPT2), report=done.append)
        assert sum(done) == len(DOCUMENTS)
    assert TokenStream._fields == ("tokens", "starts")


def test_a_model_of_documents_reads_a_text_without_marker_as_one_document(corpus_of):
    tokens, starts = token_stream(corpus_of("the end"), LittleBPE(GPT2), documents=True)
    end = LittleBPE(GPT2).end
    assert tokens[0] == tokens[-1] == end and starts.tolist() == [0] and end not in tokens[1:-1]


def test_a_model_without_documents_reads_the_marker_as_text(corpus_of):
    stream = token_stream(corpus_of(DOCUMENTS), LittleBPE(GPT2), documents=False)
    assert stream.starts is None and LittleBPE(GPT2).end not in stream.tokens
