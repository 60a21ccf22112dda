"""Token streams: a corpus as one array of token ids, in memory for a small corpus, in a file for a large one.

With documents d1 .. dn and a tokenizer that has an end token the stream is

    end d1 end d2 end ... dn end         starts: the places of all ends but the last

so that each document has its begin token, which is given to the model, and an end token, which is scored:
one token serves as the end of a document and the begin of the next. The last token is the first one again,
which makes the stream a ring. Without documents, or without an end token, it is the tokens of the text as
it is, and starts is None.

On disk a stream is flat: token ids as little-endian uint16 (uint32 where the vocabulary is larger than
65,536), the starts as int64 in a file of their own, and the sha256 of both in a third, as sha256sum writes
it. The file's name carries a hash of the text's sha256 and the tokenizer, so that a stream of another text
or tokenizer is never taken for this one. Each opening reads both files once and compares: what is damaged
or missing is made anew. (The text itself is read and hashed each time as well, which takes longer.)
"""
import hashlib
import json
import os
from array import array
from itertools import chain
from typing import NamedTuple

import numpy as np

from ..files import write_atomically
from .corpora import DOCUMENT_END, pieces
from .downloads import data_folder


class TokenStream(NamedTuple):
    tokens: np.ndarray              # (N,) ids; a read-only map of its file where the corpus is large
    starts: np.ndarray | None       # (documents,) int64: where their begin tokens are; None without documents


def token_stream(corpus, tokenizer, documents=None, report=lambda n: None):
    """Corpus -> TokenStream. documents: whether it is to be made of documents, as a model expects that was
    trained on some (a text without a line <|endoftext|> is then one document); None: where the corpus has
    them and the tokenizer an end token.

    The stream of a large corpus is made once and kept in the data folder; report(n) is called after every n
    bytes of text then.
    """
    if documents is None:            # without an end token the marker's line is text like any other
        documents = corpus.has_documents and tokenizer.end is not None
    if corpus.in_memory:
        starts = array("q")
        if not documents:
            return TokenStream(tokenizer.encode(corpus.text), None)
        return TokenStream(np.concatenate(list(encoded(corpus, tokenizer, documents, starts, report))),
                           np.array(starts, np.int64))
    identity = {"layout": 1, "text": corpus.sha256, "end": tokenizer.end, "documents": documents,
                "tokenizer": tokenizer.to_json()}
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    target = data_folder() / "streams" / f"{corpus.name}-{key[:24]}.tokens"
    if not is_whole(target):
        encode_to_file(corpus, tokenizer, target, documents, report)
    return open_stream(target, tokenizer, documents)


def documents_of(stream):
    """The tokens of each document of a stream, one after the other, without begin and end."""
    for start, end in zip(stream.starts, chain(stream.starts[1:], [len(stream.tokens) - 1])):
        yield stream.tokens[start + 1:end]


def count(corpus, tokenizer, report=lambda n: None):
    """Encode a corpus and keep nothing -> (tokens, how many of them are ends of documents, the bytes of
    text that each other one stands for on average)."""
    tokens, n_bytes, starts = 0, 0, array("q")
    documents = corpus.has_documents and tokenizer.end is not None
    for ids in encoded(corpus, tokenizer, documents, starts, report):
        tokens, n_bytes = tokens + len(ids), n_bytes + tokenizer.count_bytes(ids)
    ends = (len(starts) + 1) * documents
    return tokens, ends, n_bytes / max(tokens - ends, 1)


def encode_to_file(corpus, tokenizer, target, documents, report=lambda n: None):
    """Write the stream of a corpus to target, its starts and the sums of both beside it, in memory that
    grows by nothing but the starts: 8 bytes a document."""
    starts, dtype = array("q"), dtype_of(tokenizer)
    target.parent.mkdir(parents=True, exist_ok=True)
    chunks = (np.ascontiguousarray(ids, dtype)
              for ids in encoded(corpus, tokenizer, documents, starts, report))
    write_atomically(target, chunks, corpus.size * dtype.itemsize)
    if documents:
        write_atomically(starts_path(target), [np.frombuffer(starts, np.int64).astype("<i8", copy=False)],
                         8 * len(starts))
    sums = sums_of(target)
    write_atomically(sums_path(target), [sums], len(sums))


def is_whole(target):
    """Are a stream's files there, byte for byte as they were written?"""
    there = target.is_file() and sums_path(target).is_file()
    return there and sums_path(target).read_bytes() == sums_of(target)


def sums_of(target):
    """The sha256 of each of a stream's files: what sums_path(target) must hold."""
    lines = []
    for path in (target, starts_path(target)):
        if path.is_file():
            with open(path, "rb") as f:
                lines.append(f"{hashlib.file_digest(f, 'sha256').hexdigest()}  {path.name}\n")
    return os.fsencode("".join(lines))            # a name need not be UTF-8


def open_stream(target, tokenizer, with_starts):
    """A stream's file -> TokenStream, mapped: the system reads what is used."""
    return TokenStream(np.memmap(target, dtype_of(tokenizer), "r"),
                       np.fromfile(starts_path(target), "<i8") if with_starts else None)


def dtype_of(tokenizer):
    """Token ids on disk: uint16, or uint32 where the vocabulary needs it."""
    return np.dtype("<u2" if tokenizer.vocab_size <= 2**16 else "<u4")


def starts_path(target):
    """Where the documents' starts of a stream's file are kept."""
    return target.with_suffix(".starts")


def sums_path(target):
    """Where the sums of a stream's files are kept (``sha256sum --check`` reads it)."""
    return target.with_suffix(".sha256")


def encoded(corpus, tokenizer, with_documents, starts, report):
    """Yield the stream piece by piece; the documents' starts are appended to starts."""
    end = np.array([tokenizer.end], np.int32) if with_documents else None
    place, begun = 0, not with_documents         # begun: does the document at hand have its begin token?
    for piece in pieces(corpus.chunks(report), with_documents):
        if piece is DOCUMENT_END:
            begun = False            # its end token is written as the begin of the next, or at the end
            continue
        if not begun:
            starts.append(place)
            yield end
            place, begun = place + 1, True
        ids = tokenizer.encode(piece)
        yield ids
        place += len(ids)
    if with_documents:
        yield end
