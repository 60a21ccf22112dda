"""The safetensors format: named arrays and string metadata in one file: written
atomically, read with every check.

    8 bytes          N, the header's length, unsigned, little endian
    N bytes          JSON: {name: {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, ...,
                            "__metadata__": {string: string}}, padded with spaces to a multiple of 8
    the rest         the arrays' bytes, C order, little endian, end to end; offsets count from here

This file knows arrays and names, no model. ``save`` adds to the metadata "file_sha256", that of the whole
file with 64 zeros in this place, and ``load`` verifies it. (Early files have "sha256", of the array bytes
alone.) A file whose "format" is one of this project's is damaged without it; others may have none.
"""
import hashlib
import json
import math
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError
from ..files import found, read_at_most, write_atomically
from ..float16 import BFLOAT16

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
          "BF16": BFLOAT16, "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1"}
NAMES = {np.dtype(d): name for name, d in DTYPES.items()}
MAX_HEADER = 100_000_000
UNKNOWN = "0" * 64       # stands for the file's sha256 while that is made
OURS = "minibitnet "     # what "format" begins with in the metadata of this project's files
FOREIGN = {b"PK": "a zip or npz archive", b"\x80": "a pickle", b"<": "an HTML page",
           b"version https://git-lfs": "a Git LFS pointer",
           b"GGUF": "a GGUF file", b"\x93NUMPY": "an npy file"}


class FormatError(UserError):
    """The file is damaged or is something else: "path: reason"."""


def save(path, arrays, metadata, keep=None):
    """Write {name: array} and {string: string} to path, so that path holds either what it held before or all
    of this.

    keep: a path to move what it held before to. Raises OSError, naming the bytes needed and free, where the
    disk is full or read-only; what path held before is then still there, or in keep.
    """
    path, header, end = Path(path), {}, 0
    for name, a in arrays.items():
        offsets = [end, end + a.nbytes]
        header[name] = {"dtype": NAMES[a.dtype], "shape": list(a.shape), "data_offsets": offsets}
        end += a.nbytes

    def start(sha256):
        whole = {**header, "__metadata__": {**metadata, "file_sha256": sha256}}
        text = json.dumps(whole, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    digest = hashlib.sha256(start(UNKNOWN))
    for a in arrays.values():
        digest.update(np.ascontiguousarray(a))
    first = start(digest.hexdigest())
    write_atomically(path, chain([first], map(np.ascontiguousarray, arrays.values())), len(first) + end, keep)


class Stored(NamedTuple):
    """An array that is still in its file."""
    path: Path
    dtype: np.dtype
    shape: tuple
    offset: int

    def read(self):
        """It, read; FormatError where the file has become shorter."""
        with open(self.path, "rb") as f:
            f.seek(self.offset)
            return _read(f, self)


def _read(f, stored):
    """The array that begins here."""
    array = np.empty(stored.shape, stored.dtype)
    if f.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
        raise FormatError(f"{stored.path}: it ends in the middle of a tensor: was it changed meanwhile?")
    return array


def stored(path):
    """What a file has, nothing of it read but its header -> ({name: Stored}, {string: string}). No checksum
    is looked at. Raises as ``load``."""
    with _opened(path) as f:
        return _header(f, Path(path))[1:]


def load(path):
    """Read a whole file -> ({name: array}, {string: string}).

    Raises FormatError for anything but a complete and consistent file, OSError where there is none to read.
    """
    with _opened(path) as f:
        start, entries, metadata = _header(f, Path(path))
        arrays, (digest, expected) = {}, _checksum(start, metadata)
        for name, entry in entries.items():                        # an array each: one can be let go
            arrays[name] = _read(f, entry)
            digest.update(arrays[name])
    if expected is None and metadata.get("format", "").startswith(OURS):
        raise FormatError(f"{path}: its header has no sha256, which {OURS}always writes; the file is damaged")
    if expected not in (None, digest.hexdigest()):
        raise FormatError(f"{path}: its bytes do not have the sha256 that its header says; "
                          "the file is damaged")
    return arrays, metadata


def _opened(path):
    if not Path(path).is_file():
        raise FormatError(f"{path}: expected a safetensors file, found {found(Path(path))}")
    return open(path, "rb")


def _header(f, path):
    """A file that was opened -> (its header and what comes before it, {name: Stored} as they follow each
    other, its metadata)"""
    size, start = path.stat().st_size, f.read(8)
    start += read_at_most(f, min(int.from_bytes(start, "little"), MAX_HEADER))
    try:
        entries, metadata = _parse(start, size)
    except FormatError as e:
        if start[8:9] != b"{":
            for magic, what in FOREIGN.items():
                if start.startswith(magic):
                    raise FormatError(f"{path}: this is {what}, not a safetensors file") from None
        raise FormatError(f"{path}: {e}") from None
    return start, {name: Stored(path, dtype, shape, len(start) + begin)
                   for name, (dtype, shape, begin, _) in entries.items()}, metadata


def _checksum(start, metadata):
    """The header and what comes before it, its metadata -> (sha256 to be continued with the arrays' bytes,
    what it must become or None)"""
    if "file_sha256" in metadata:
        expected = metadata["file_sha256"]
        return hashlib.sha256(start.replace(expected.encode(errors="replace"), UNKNOWN.encode(), 1)), expected
    return hashlib.sha256(), metadata.get("sha256")


def _parse(start, size):
    """The header and what comes before it, size of the file -> ({name: (dtype, shape, begin, end)} as they
    follow each other, metadata)"""
    if not size:
        raise FormatError("the file is empty")
    length = int.from_bytes(start[:8], "little")
    if size < 8 or length > min(MAX_HEADER, size - 8):
        raise FormatError(f"its header claims {length:,} bytes, the file has {size:,}: "
                          "truncated or not safetensors")
    if start[8:9] != b"{":
        raise FormatError("its header is not a JSON object")
    try:
        text = start[8:].decode("utf-8")
        header = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    except FormatError:
        raise
    except (ValueError, RecursionError):
        raise FormatError("its header is not valid UTF-8 JSON") from None
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise FormatError("its __metadata__ is not a map from string to string")
    entries = {name: _entry(name, entry) for name, entry in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: item[1][2:]))
    position = 0
    for name, (_, _, begin, end) in entries.items():
        if begin != position:
            raise FormatError(f"tensor {name!r} begins at {begin:,}: expected {position:,} "
                              "(a hole or an overlap)")
        position = end
    if position != size - 8 - length:
        raise FormatError(f"its tensors end at {position:,} but {size - 8 - length:,} bytes of data follow "
                          "the header: truncated?")
    return entries, metadata


def _entry(name, entry):
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise FormatError(f"tensor {name!r}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise FormatError(f"tensor {name!r}: dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    dtype = np.dtype(DTYPES[dtype])
    # The non-zero dimensions are bounded by themselves: [0, 2**62] has no bytes but no NumPy shape either.
    if not isinstance(shape, list) or not all(_is_size(n, 2**31) for n in shape) or len(shape) > 32 \
            or math.prod(n for n in shape if n) >= 2**60:
        raise FormatError(f"tensor {name!r}: shape {str(shape)[:80]}: expected a list of sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(n, 2**63) for n in offsets) \
            or offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
        raise FormatError(f"tensor {name!r}: data_offsets {str(offsets)[:80]} do not fit {entry['dtype']} "
                          f"of shape {shape}")
    return dtype, tuple(shape), *offsets


def _is_size(value, limit):
    return type(value) is int and 0 <= value < limit          # isinstance would take True for 1


def _no_duplicates(pairs):
    if len(dict(pairs)) != len(pairs):
        raise FormatError("its header names something twice")
    return dict(pairs)


def _no_constants(name):
    raise FormatError(f"its header holds {name}")
