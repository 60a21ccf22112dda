"""Where text comes from: built-in corpora, fetched ones, or any UTF-8 file; whole, in pieces, or document
by document.

    stories      written by a grammar whose entropy is known; part of the package
    pets         written by a grammar of one line, 256 stories; part of the package
    pydoc        real English that every CPython carries
    NAME         what ``python -m minibitnet.data fetch NAME`` put into the data folder
    PATH         a file of yours

A line <|endoftext|> ends a document (the form of TinyStories too): document, "\\n<|endoftext|>\\n",
document, and so on. A text without such a line has no documents.
"""
import codecs
import difflib
import hashlib
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ..data_files import packaged
from ..errors import UserError
from ..files import found
from .downloads import DOWNLOADS, find, text_path
from .kinds import SAMPLE, kind_of, replaced_in_words, too_many_nuls

AS_IT_IS = "raw:"         # before a path: read it, even if it is no text
WITH_GRAMMAR = ("stories", "pets")      # files of the package, whose languages are in stories/
BUILT_IN = (*WITH_GRAMMAR, "pydoc")
IN_MEMORY = 64 * 2**20      # bytes; a larger file is read in pieces
PIECE = 2**20               # bytes of a piece
DOCUMENT_END = object()              # what ``pieces`` yields where a document ends


@dataclass(frozen=True)
class Corpus:
    """A text and its origin. ``source`` is the text, or the path of a file too large to hold: use
    ``chunks()`` then."""
    name: str
    source: str | Path
    sha256: str             # of the bytes as they were read
    replaced: int           # places that were not UTF-8 and became U+FFFD
    size: int               # bytes
    has_documents: bool     # is there a line <|endoftext|>?

    @property
    def in_memory(self):
        return isinstance(self.source, str)

    @property
    def replaced_in_words(self):
        """What became of what is no UTF-8; "" where all is."""
        return replaced_in_words(self.replaced, self.size)

    @property
    def text(self):
        return self.source if self.in_memory else "".join(self.chunks())

    def chunks(self, report=lambda n: None):
        """The text piece by piece; report(n) is called after every n bytes read."""
        if self.in_memory:
            yield self.source
            report(self.size)
            return
        digest = hashlib.sha256()
        for text, _ in decode_pieces(_read_pieces(self.source, digest, report)):
            yield text
        if digest.hexdigest() != self.sha256:
            raise UserError(f"corpus {str(self.source)!r} changed while it was read: expected a file that "
                            f"nobody writes to")


def corpus_of(data):
    """A text of more than one line or of 1,000 characters, or what ``load_corpus`` takes (a path too) ->
    (Corpus, the ``spec`` that loads it again, or its name where it was a text)."""
    if isinstance(data, os.PathLike):
        data = os.fspath(data)
    if not isinstance(data, str):
        raise UserError(f"data of type {type(data).__name__}: expected a text, a corpus's name, or a path")
    if "\n" not in data and len(data) < 1000:            # no path is as long
        return load_corpus(data), data
    try:
        raw = data.encode()
    except UnicodeEncodeError as e:
        raise UserError(f"the text: {e.reason} at {e.start:,}: expected text that UTF-8 can hold") from None
    if not data.strip():
        raise UserError("the text is blank: expected words")
    return Corpus("text", data, hashlib.sha256(raw).hexdigest(), 0, len(raw), _has_documents(data)), "text"


def load_corpus(spec):
    """spec: the name of a built-in or a fetched corpus, or the path of a text file -> Corpus. Line ends
    stay as they are; a leading byte order mark is dropped. "raw:PATH" reads a file whatever it is."""
    if not isinstance(spec, str | os.PathLike):
        raise UserError(f"data = {repr(spec)[:60]}: expected the name of a corpus, or a path")
    spec = os.fspath(spec)
    path, refuse = _path_of(spec.removeprefix(AS_IT_IS)), not spec.startswith(AS_IT_IS)
    if path and refuse:
        with open(path, "rb") as f:
            _refuse(spec, kind_of(f.read(SAMPLE)))
    if path and path.stat().st_size > IN_MEMORY:
        return _survey(spec, path, refuse)
    raw = path.read_bytes() if path else _pydoc()
    text, replaced = decode_utf8(raw)
    if not text.strip():
        raise _empty(spec, len(raw))
    if refuse:
        _refuse(spec, too_many_nuls(text.count("\0"), len(raw)))
    return Corpus(path.stem if path else spec, text, hashlib.sha256(raw).hexdigest(), replaced, len(raw),
                  _has_documents(text))


def _refuse(spec, kind):
    if kind:
        raise UserError(f"corpus {spec!r} is {kind} (or, to take its bytes as they are, name it "
                        f"{shlex.quote(AS_IT_IS + spec)})")


def _has_documents(text):
    """Is there a line <|endoftext|>?"""
    return any(p is DOCUMENT_END for p in pieces([text]))


def _path_of(spec):
    """Where the text of a spec lies, None for one that is no file; UserError where it cannot be read."""
    if not spec:
        raise UserError(f"no corpus was named: expected a text file or one of: {', '.join(BUILT_IN)}")
    if spec == "pydoc":
        return None
    if spec in WITH_GRAMMAR:
        return packaged(f"{spec}.txt")
    download = find(spec)
    if download:
        if not text_path(spec).is_file():
            here = f", or name the file ./{spec} that is here" if Path(spec).is_file() else ""
            raise UserError(f"corpus {spec!r} was not fetched yet: python -m minibitnet.data fetch "
                            f"{download.name} ({download.size:,} bytes){here}")
        return text_path(spec)
    path = Path(spec)
    try:
        there = path.exists() or path.is_symlink()
    except (OSError, ValueError):                # too long for a name, or with a NUL
        raise UserError(f"corpus {spec[:40]!r}... is no name of a file: expected one, or a text of more than "
                        "one line, or of 1,000 characters") from None
    if not there:
        near = difflib.get_close_matches(spec, [*BUILT_IN, *DOWNLOADS], 1)
        hint = f"did you mean {near[0]}?" if near else f"or one of: {', '.join([*BUILT_IN, *DOWNLOADS])}"
        raise UserError(f"corpus {spec!r} does not exist in {Path.cwd()}: expected a text file, {hint}")
    if not path.is_file():                       # a FIFO, say, would be waited for without end
        raise UserError(f"corpus {spec!r} is {found(path)}: expected a text file")
    return path


def _survey(spec, path, refuse):
    """The Corpus of a large file, of which one pass finds what must be known."""
    digest, sizes, replaced, blank, nuls = hashlib.sha256(), [], 0, True, 0

    def chunks():
        nonlocal replaced, blank, nuls
        for text, n in decode_pieces(_read_pieces(path, digest, sizes.append)):
            replaced, blank, nuls = replaced + n, blank and not text.strip(), nuls + text.count("\0")
            yield text
    texts = chunks()
    has_documents = any(piece is DOCUMENT_END for piece in pieces(texts))
    for _ in texts:                              # what stands after the first marker line
        pass
    if blank:
        raise _empty(spec, sum(sizes))
    if refuse:
        _refuse(spec, too_many_nuls(nuls, sum(sizes)))
    return Corpus(path.stem, path, digest.hexdigest(), replaced, sum(sizes), has_documents)


def _empty(spec, size):
    return UserError(f"corpus {spec!r} is {f'blank, {size:,} bytes of white space' if size else 'empty'}: "
                     "expected text")


# ---- bytes -> text

def decode_utf8(raw):
    """bytes -> (text, number of undecodable places, each of which became U+FFFD); a leading byte order mark
    is dropped"""
    return _decode(raw.removeprefix(codecs.BOM_UTF8))


def decode_pieces(raw_pieces):
    """The same for bytes that come in pieces, cut anywhere; yields (text, number of undecodable places)."""
    held, first = b"", True
    for raw in raw_pieces:
        held += raw
        cut = _character_end(held)
        text, replaced = _decode(held[:cut])
        held = held[cut:]
        if text:
            yield text.removeprefix("\ufeff") if first else text, replaced
            first = False
    text, replaced = _decode(held)
    yield text.removeprefix("\ufeff") if first else text, replaced


def _decode(raw):
    text = raw.decode("utf-8", "replace")
    return text, text.count("\ufffd") - raw.count("\ufffd".encode())     # the text's own are no replacements


def _character_end(raw):
    """Where bytes can be cut so that both parts decode as the whole does: before the last byte that begins
    a character. After four continuation bytes (10xxxxxx) no character is open."""
    return next((len(raw) - i for i in range(1, min(4, len(raw)) + 1) if raw[-i] & 0xC0 != 0x80), len(raw))


def _read_pieces(path, digest, report):
    with open(path, "rb") as f:
        while raw := f.read(PIECE):
            digest.update(raw)
            yield raw
            report(len(raw))


def _pydoc():
    """The text of Python's own language help, by topic. It differs between Python versions (a run records
    its sha256)."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError("corpus 'pydoc': this Python was installed without its help texts (module "
                        "pydoc_data); give a text file with --data PATH") from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)).encode("utf-8")


# ---- text -> documents, and places to cut

# The marker begins its line. The lookbehind comes after the literal, so that the search may run for that.
_MARKER_LINE = re.compile(r"<\|endoftext\|>(?<![^\n]<\|endoftext\|>)\r?\n")
_LAST_MARKER_LINE = re.compile(r"<\|endoftext\|>(?<![^\n]<\|endoftext\|>)(?:\r?\n|\r?\Z)")
_LAST_CUT = re.compile(r".*(?:(?<=[^\W_])(?=[ \r\n])|(?<=\S\n)(?=[^\W_]))", re.DOTALL)


def safe_cut(text):
    """The last place where a text may be cut so that its two parts have the tokens of the whole; 0 if there
    is none.

    A byte or character tokenizer may be cut anywhere; BPE first splits text into pre-tokens by a regular
    expression, and may be cut only where a pre-token begins *whatever stands before and after*. For GPT-2's
    pattern and its kin (cl100k, o200k) that is
      - before a space or line end that follows a letter or digit: no pre-token runs from a word into white
        space;
      - between a single line end and a letter or digit: the line end is a pre-token, or the end of one.
    Not so: after two line ends ("a\\n\\n|b": alone, the left part has one pre-token \\n\\n, in the whole
    text it has two, for white space leaves its last character to what follows), nor before a line end after
    a full stop (cl100k: ".\\n" is one).
    """
    found = _LAST_CUT.match(text)
    return found.end() if found else 0


def pieces(chunks, with_documents=True):
    """Chunks of text -> pieces that may be tokenized one by one, and DOCUMENT_END where a document ends.

    A text without a line <|endoftext|> has no DOCUMENT_END, and with_documents=False takes such a line for
    text. The line end before such a line, or at the end of the text, ends the document's last line and is
    not part of it. Holds a piece and a chunk at a time, more only where there is no place to cut.
    """
    held, limit = "", 0
    for chunk in chunks:
        held += chunk
        if len(held) < limit:
            continue
        if with_documents:
            *ended, held = _MARKER_LINE.split(held)
            yield from _ended(ended)
        cut = safe_cut(held)
        if cut:
            yield held[:cut]
        held = held[cut:]
        limit = 2 * len(held)        # or a text without places to cut would be searched at every chunk
    if with_documents:
        *ended, held = _LAST_MARKER_LINE.split(held)
        yield from _ended(ended)
        held = _without_line_end(held)
    if held:
        yield held


def _ended(documents):
    for text in documents:
        text = _without_line_end(text)
        if text:
            yield text
        yield DOCUMENT_END


def _without_line_end(text):
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def texts(corpus, report=lambda n: None):
    """The text of a corpus in pieces, without its lines <|endoftext|>; report as of ``chunks``."""
    found = pieces(corpus.chunks(report), corpus.has_documents)
    return (piece for piece in found if piece is not DOCUMENT_END)
