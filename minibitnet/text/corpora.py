"""Where text comes from: ``pydoc``, real English that every CPython carries, or any UTF-8 file."""
import codecs
import difflib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

BUILT_IN = ("pydoc",)


@dataclass(frozen=True)
class Corpus:
    name: str
    text: str
    sha256: str        # of the bytes as they were read
    replaced: int      # places that were not UTF-8 and became U+FFFD


def load_corpus(spec):
    """spec: a built-in name or the path of a text file -> Corpus. Line ends stay as they are; a leading byte order mark
    is dropped."""
    if not spec:
        raise UserError(f"no corpus was named: expected a text file or one of: {', '.join(BUILT_IN)}")
    if spec in BUILT_IN:
        name, raw = spec, _pydoc()
    else:
        name, raw = Path(spec).stem, _read(Path(spec))
    text, replaced = decode_utf8(raw)
    if not text.strip():
        raise UserError(f"corpus {spec!r} is empty: expected text to train on")
    return Corpus(name, text, hashlib.sha256(raw).hexdigest(), replaced)


def decode_utf8(raw):
    """bytes -> (text, number of undecodable places, each of which became U+FFFD)"""
    replaced = 0

    def replace(error):
        nonlocal replaced
        replaced += 1
        return "\ufffd", error.end

    codecs.register_error("minibitnet-replace", replace)
    return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8", "minibitnet-replace"), replaced


def _read(path):
    if not path.exists():
        near = difflib.get_close_matches(str(path), BUILT_IN, 1)
        hint = f"did you mean {near[0]}?" if near else f"or one of: {', '.join(BUILT_IN)}"
        raise UserError(f"corpus {str(path)!r} does not exist in {Path.cwd()}: expected a text file, {hint}")
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "not a regular file"
        raise UserError(f"corpus {str(path)!r} is {kind}: expected a text file")
    return path.read_bytes()


def _pydoc():
    """The text of Python's own language help, by topic. It differs between Python versions (a run records its sha256)."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise UserError("corpus 'pydoc': this Python was installed without its help texts (module pydoc_data); "
                        "give a text file with --data PATH") from None
    return "\n\n".join(topics[name].strip() for name in sorted(topics)).encode("utf-8")
