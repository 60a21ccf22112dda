"""GGUF, the file of llama.cpp: metadata and tensors of a model, little endian.

    4 bytes          "GGUF"
    uint32           version, 3
    uint64, uint64   how many tensors, how many entries of metadata
    the metadata     key (string), uint32 type, value
    the tensors      name (string), uint32 dimensions, uint64 each, the innermost first; uint32 type of ggml,
                     uint64 offset from where the data begin
    the data         from the next multiple of general.alignment (32) on, and so each tensor

A string is a uint64 length and UTF-8; an array a uint32 type, a uint64 length and its values. This file knows
no model: ``gguf_model.py`` does.
"""
import bisect
import math
import mmap
import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import UserError, brief
from ..files import found, write_atomically
from ..float16 import BFLOAT16
from ..formats.safetensors import FormatError
from . import ggml

MAGIC, VERSION, ALIGNMENT = b"GGUF", 3, 32
FLOAT, BOOL, STRING, ARRAY = 6, 7, 8, 9
FORMATS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", FLOAT: "<f", BOOL: "?", 10: "<Q", 11: "<q",
           12: "<d"}
FLOATS = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 30: BFLOAT16}      # types of ggml that are one number each
MOST = 2**20         # tensors, entries
FEW = 2**19          # numbers of an array that become a list, and not an array of NumPy's


class Tensor(NamedTuple):
    """A tensor in its file. kind: ggml's type; shape: as NumPy has it, the innermost dimension last."""
    path: Path
    kind: int
    shape: tuple
    offset: int
    n_bytes: int

    def read(self):
        """Its bytes: of FLOATS an array of this shape, of others uint8."""
        data = np.fromfile(self.path, np.uint8, self.n_bytes, offset=self.offset)
        if len(data) < self.n_bytes:
            raise FormatError(f"{self.path}: it ends in the middle of a tensor: truncated?")
        return data.view(FLOATS[self.kind]).reshape(self.shape) if self.kind in FLOATS else data


class File(NamedTuple):
    """What a file says, and where its tensors are."""
    path: Path
    metadata: dict
    tensors: dict            # {name: Tensor}


# ---- reading

class Cursor:
    """Numbers and strings one after another; every length is checked against what is left."""

    def __init__(self, data):
        self.data, self.place = data, 0

    def take(self, n):
        if not 0 <= n <= len(self.data) - self.place:
            raise FormatError(f"it ends at {len(self.data):,} bytes, within a value: truncated?")
        self.place += n
        return self.data[self.place - n:self.place]

    def number(self, code):
        return struct.unpack(code, self.take(struct.calcsize(code)))[0]

    def text(self):
        try:
            return bytes(self.take(self.number("<Q"))).decode("utf-8")
        except UnicodeDecodeError:
            raise FormatError("a string in it is not UTF-8") from None

    def value(self, kind):
        if kind == FLOAT:                        # in the fewest digits: 1e-05, not 9.999999747378752e-06
            return float(str(np.float32(self.number(FORMATS[kind]))))
        if kind in FORMATS:
            return self.number(FORMATS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise FormatError(f"a value of type {kind} in its metadata: expected one of 0 to 12")
        inner, n = self.number("<I"), self.number("<Q")
        if inner not in FORMATS and inner != STRING:
            raise FormatError(f"an array of type {inner} in its metadata: expected numbers or texts")
        least = struct.calcsize(FORMATS[inner]) if inner in FORMATS else 8
        if n * least > len(self.data) - self.place:
            raise FormatError(f"an array of {n:,} values in its metadata, more than the file holds")
        if inner in FORMATS:
            numbers = np.frombuffer(self.take(n * least), FORMATS[inner]).copy()
            return numbers.tolist() if n <= FEW else numbers
        if n > MOST:
            raise FormatError(f"an array of {n:,} texts in its metadata: expected at most {MOST:,}")
        return [self.text() for _ in range(n)]


def read(path):
    """A file's metadata and where its tensors are -> File; FormatError ("path: reason") for what is no GGUF,
    or is damaged."""
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: expected a GGUF file, found {found(path)}")
    size = path.stat().st_size
    if size < 24:
        raise FormatError(f"{path}: {size} bytes: expected a GGUF file")
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _read(path, Cursor(data), size)
        except FormatError as e:
            raise FormatError(f"{path}: {e}") from None


def _read(path, cursor, size):
    if cursor.take(4) != MAGIC:
        raise FormatError("this is not a GGUF file")
    version, n_tensors, n_entries = cursor.number("<I"), cursor.number("<Q"), cursor.number("<Q")
    if version not in (2, 3):
        raise FormatError(f"GGUF of version {version}: expected 2 or 3, little endian")
    if max(n_tensors, n_entries) > MOST:
        raise FormatError(f"{n_tensors:,} tensors and {n_entries:,} entries: expected at most {MOST:,}")
    metadata, infos = {}, []
    for _ in range(n_entries):
        key = cursor.text()
        if key in metadata:
            raise FormatError(f"its metadata names {key[:60]!r} twice")
        metadata[key] = cursor.value(cursor.number("<I"))
    for _ in range(n_tensors):
        name, dimensions = cursor.text(), cursor.number("<I")
        if dimensions > 4:
            raise FormatError(f"tensor {name[:60]!r} has {dimensions} dimensions: expected at most 4")
        shape = tuple(cursor.number("<Q") for _ in range(dimensions))[::-1]
        infos.append((name, shape, cursor.number("<I"), cursor.number("<Q")))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if type(alignment) is not int or alignment < 8 or alignment & alignment - 1:
        raise FormatError(f"general.alignment = {brief(alignment)}: expected a power of two, at least 8")
    begin, tensors = -(-cursor.place // alignment) * alignment, {}
    ends = sorted({offset for *_, offset in infos} | {max(0, size - begin)})
    for name, shape, kind, offset in infos:
        if name in tensors:
            raise FormatError(f"tensor {name[:60]!r} is there twice")
        if offset % alignment or begin + offset > size or math.prod(map(max, shape, (1,) * 4)) > 2**40:
            raise FormatError(f"tensor {name[:60]!r} of shape {brief(shape)} at {offset:,}: it cannot be "
                              "there")
        after = bisect.bisect_right(ends, offset)
        room = ends[after] - offset if after < len(ends) else 0
        tensors[name] = Tensor(path, kind, shape, begin + offset, span(kind, shape, room, name))
    return File(path, metadata, tensors)


def span(kind, shape, room, name):
    """How many bytes a tensor takes of the room before the next one; FormatError where they do not fit. Of a
    type that we do not know it is all."""
    if kind in FLOATS:
        n = math.prod(shape) * FLOATS[kind].itemsize
    elif kind in ggml.KINDS and len(shape) == 2:
        of_kind = ggml.KINDS[kind]
        try:
            n = ggml.n_bytes(of_kind, shape)
        except ValueError as e:
            raise FormatError(f"tensor {name[:60]!r}: {e}") from None
        legacy = shape[0] * shape[1] // ggml.LEGACY[0] * ggml.LEGACY[1]
        if of_kind is ggml.Q2_0 and legacy <= room < n:
            raise FormatError(f"tensor {name[:60]!r} takes {room:,} bytes, as a fork's older blocks of 128 "
                              f"weights do, which have the id of Q2_0 too: expected {n:,}")
    else:
        return room
    if n > room:
        raise FormatError(f"tensor {name[:60]!r} of shape {shape} takes {n:,} bytes where {room:,} are left: "
                          "truncated?")
    return n


# ---- writing

def write(path, metadata, tensors):
    """metadata {key: bool, int, float, str, or a list of one of these}; tensors {name: (ggml's type, shape,
    array of its bytes)} -> a file, written whole or not at all."""
    head = bytearray(MAGIC + struct.pack("<IQQ", VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        kind, data = packed_value(value)
        head += packed_text(key) + struct.pack("<I", kind) + data
    offset, chunks = 0, []
    for name, (kind, shape, array) in tensors.items():
        head += packed_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, offset)
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        padding = -len(data) % ALIGNMENT
        chunks += [data, b"\0" * padding]
        offset += len(data) + padding
    head += b"\0" * (-len(head) % ALIGNMENT)
    write_atomically(Path(path), [head, *chunks], len(head) + offset)


def packed_text(text):
    """A string's bytes, behind their number."""
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def packed_value(value):
    """-> (its type, its bytes): whole numbers as uint32, in lists as int32, others as float32."""
    if isinstance(value, bool):
        return BOOL, struct.pack("?", value)
    if isinstance(value, str):
        return STRING, packed_text(value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return FLOAT, struct.pack("<f", value)
    if not isinstance(value, list) or not value:
        raise UserError(f"{brief(value)}: expected a value that GGUF's metadata can hold")
    if isinstance(value[0], str):
        return ARRAY, struct.pack("<IQ", STRING, len(value)) + b"".join(map(packed_text, value))
    kind, code = (6, "f") if isinstance(value[0], float) else (5, "i")
    return ARRAY, struct.pack(f"<IQ{len(value)}{code}", kind, len(value), *value)
