"""The file format: golden bytes, round trips, every rule of the header, and writing that cannot lose the old
file."""
import errno
import hashlib
import json
import os
import random
import stat
from pathlib import Path

import numpy as np
import pytest

from minibitnet import files
from minibitnet.formats import safetensors
from minibitnet.formats.safetensors import FormatError, load, save


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_golden_bytes_are_read(tmp_path):
    """Written by hand from the format's description: one float32 tensor [1, -2], little endian."""
    (tmp_path / "f").write_bytes(file_of(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
                                         bytes.fromhex("0000803f000000c0")))
    arrays, metadata = load(tmp_path / "f")
    assert np.array_equal(arrays["a"], np.array([1, -2], np.float32)) and arrays["a"].dtype == np.float32
    assert metadata == {}


def test_round_trip_of_every_dtype_and_shape(tmp_path, rng):
    arrays = {dtype: (rng.random((3, 2)) * 2).astype(code) for dtype, code in safetensors.DTYPES.items()}
    arrays |= {"scalar": np.array(3.0), "empty": np.zeros((0, 4), np.int8),
               "transposed": np.arange(6.0).reshape(2, 3).T}
    save(tmp_path / "f", arrays, {"key": "wert ü"})
    loaded, metadata = load(tmp_path / "f")
    assert metadata["key"] == "wert ü"
    for name, a in arrays.items():
        assert loaded[name].dtype == a.dtype and np.array_equal(loaded[name], a), name


def test_equal_arrays_give_equal_bytes(tmp_path):
    for name in "ab":
        save(tmp_path / name, {"x": np.arange(5.0)}, {"k": "v"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


MALFORMED = {
    "an empty file": b"",
    "7 bytes": b"1234567",
    "a header longer than the file": (2**40).to_bytes(8, "little") + b"{}",
    "a header that is not JSON": file_of(b"{not json"),
    "a header that is a list": file_of(b"[]"),
    "a header that is not UTF-8": file_of(b'{"\xff": 1}'),
    "a header nested 100,000 deep": file_of(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a header with NaN": file_of(b'{"a": NaN}'),
    "a header with a 5,000-digit number": file_of(b'{"a": ' + b"9" * 5000 + b"}"),
    "a name given twice": file_of(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
                                   b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
                                  bytes(8)),
    "metadata that is not strings": file_of({"__metadata__": {"a": 1}}),
    "metadata that is a list": file_of({"__metadata__": []}),
    "an entry that is a number": file_of({"a": 1}),
    "an entry without a shape": file_of({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, bytes(8)),
    "an unknown dtype": file_of({"a": tensor("F8")}, bytes(8)),
    "a dtype that is a list": file_of({"a": tensor(["F32"])}, bytes(8)),
    "a negative size": file_of({"a": tensor(shape=(-2,))}, bytes(8)),
    "a boolean size": file_of({"a": tensor(shape=(True, 2))}, bytes(8)),
    "a fractional size": file_of({"a": tensor(shape=(2.0,))}, bytes(8)),
    "a size of 2^62 beside a zero": file_of({"a": tensor(shape=(0, 2**62), offsets=(0, 0))}),
    "sizes whose product overflows": file_of({"a": tensor(shape=(2**30, 2**30, 2**30, 0), offsets=(0, 0))}),
    "40 dimensions": file_of({"a": tensor(shape=(1,) * 40, offsets=(0, 4))}, bytes(4)),
    "offsets that do not fit the shape": file_of({"a": tensor(offsets=(0, 4))}, bytes(4)),
    "offsets the wrong way round": file_of({"a": tensor(offsets=(8, 0))}, bytes(8)),
    "one offset": file_of({"a": tensor(offsets=(0,))}, bytes(8)),
    "a hole": file_of({"a": tensor(offsets=(4, 12))}, bytes(12)),
    "an overlap": file_of({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)),
    "missing data": file_of({"a": tensor()}, bytes(7)),
    "trailing data": file_of({"a": tensor()}, bytes(9)),
    "a wrong sha256": file_of({"__metadata__": {"file_sha256": "1" * 64}, "a": tensor()}, bytes(8)),
    "a wrong sha256 of the arrays": file_of({"__metadata__": {"sha256": "0" * 64}, "a": tensor()}, bytes(8)),
    "an empty sha256": file_of({"__metadata__": {"file_sha256": ""}, "a": tensor()}, bytes(8)),
    "a sha256 that is no text": file_of({"__metadata__": {"file_sha256": "\ud800"}, "a": tensor()}, bytes(8)),
    "a zip": b"PK\x03\x04" + bytes(100),
    "a pickle": b"\x80\x04" + bytes(100),
    "an HTML page": b"<!DOCTYPE html><html>" + bytes(100),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_file_is_one_line_that_names_it(what, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(MALFORMED[what])
    with pytest.raises(FormatError, match="model.safetensors") as e:
        load(tmp_path / "model.safetensors")
    assert "\n" not in str(e.value) and len(str(e.value)) < 400
    if what in ("a zip", "a pickle", "an HTML page", "a Git LFS pointer"):
        assert f"this is {what.replace('a zip', 'a zip or npz archive')}" in str(e.value)


def test_truncation_anywhere_is_noticed(tmp_path):
    save(tmp_path / "f", {"x": np.arange(50.0)}, {})
    raw = (tmp_path / "f").read_bytes()
    for length in range(len(raw)):
        (tmp_path / "g").write_bytes(raw[:length])
        with pytest.raises(FormatError):
            load(tmp_path / "g")


@pytest.mark.parametrize("metadata", [{"config": '{"linear": "ternary"}'}, {"format": "minibitnet x 1"}],
                         ids=["another's", "ours"])
def test_every_byte_is_covered_by_the_sha256(metadata, tmp_path):
    """One bit after the other, in header and arrays: only where the key "file_sha256" gets another name,
    nobody knows of the sum, but in a file of ours, which is never without."""
    save(tmp_path / "f", {"x": np.arange(6.0).reshape(2, 3), "y": np.zeros(3, np.int8)}, metadata)
    raw, unseen = (tmp_path / "f").read_bytes(), []
    for i in range(len(raw)):
        (tmp_path / "g").write_bytes(raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1:])
        try:
            load(tmp_path / "g")
            unseen.append(i)
        except FormatError:
            pass
    key = raw.index(b"file_sha256")
    assert unseen == ([] if "format" in metadata else list(range(key, key + len("file_sha256"))))


def test_the_sha256_is_that_of_the_file_with_zeros_in_its_place(tmp_path):
    """Also where 64 zeros stand elsewhere, and where a file is saved with the metadata it was loaded with."""
    save(tmp_path / "f", {"x": np.arange(3.0)}, {"zeros": "0" * 64})
    arrays, metadata = load(tmp_path / "f")
    stated = metadata["file_sha256"]
    whole = (tmp_path / "f").read_bytes().replace(stated.encode(), b"0" * 64)
    assert hashlib.sha256(whole).hexdigest() == stated
    save(tmp_path / "g", arrays, metadata)
    assert (tmp_path / "g").read_bytes() == (tmp_path / "f").read_bytes()


def test_a_file_with_the_sha256_of_its_arrays_alone_is_still_read(tmp_path):
    """An early one of ours; without any, or under another name, it is damaged."""
    data, early = bytes.fromhex("0000803f000000c0"), {"format": "minibitnet checkpoint 1"}
    sha256 = hashlib.sha256(data).hexdigest()
    (tmp_path / "f").write_bytes(file_of({"__metadata__": early | {"sha256": sha256}, "a": tensor()}, data))
    assert load(tmp_path / "f")[0]["a"].tolist() == [1, -2]
    for sums in ({}, {"sha257": sha256}):
        (tmp_path / "f").write_bytes(file_of({"__metadata__": early | sums, "a": tensor()}, data))
        with pytest.raises(FormatError, match="f: its header has no sha256, which .*the file is damaged"):
            load(tmp_path / "f")


def test_mutated_files_are_read_or_refused(tmp_path):
    """500 files with 1 to 4 changed bytes: either a FormatError or arrays; nothing else ever comes out."""
    save(tmp_path / "f", {"x": np.arange(6.0).reshape(2, 3), "y": np.zeros(3, np.int8)}, {"k": "v"})
    raw, rnd, refused = (tmp_path / "f").read_bytes(), random.Random(0), 0
    for _ in range(500):
        mutant = bytearray(raw)
        for _ in range(rnd.randint(1, 4)):
            mutant[rnd.randrange(len(mutant))] = rnd.randrange(256)
        (tmp_path / "g").write_bytes(mutant)
        try:
            load(tmp_path / "g")
        except FormatError:
            refused += 1
    assert refused > 480                     # the sha256 sees what the header's rules do not


def test_directories_and_absent_files_are_named(tmp_path):
    with pytest.raises(FormatError, match="found a directory"):
        load(tmp_path)
    with pytest.raises(FormatError, match="found nothing"):
        load(tmp_path / "absent")


class Crash(Exception):
    """Stands for the process dying at this point."""


CALLS = ["open", "write", "flush", "fsync", "replace"]


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), Crash()],
                         ids=["disk full", "crash"])
@pytest.mark.parametrize("nth", range(1, 9))
def test_a_failure_at_the_nth_system_call_leaves_the_old_or_the_new_file(nth, failure, tmp_path, monkeypatch):
    """open, header, array, flush, fsync, old -> keep, new -> path, fsync of the directory: whichever fails, a
    whole file stays."""
    path, keep = tmp_path / "last", tmp_path / "prev"
    save(path, {"x": np.zeros(3)}, {})
    count = 0

    def counted(fn):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == nth:
                raise failure
            return fn(*args, **kwargs)
        return call

    class File:
        def __init__(self, f):
            self.f, self.write, self.flush, self.fileno = f, counted(f.write), counted(f.flush), f.fileno

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.f.close()
    real_open = open
    monkeypatch.setattr(files, "open", counted(lambda *a: File(real_open(*a))), raising=False)
    monkeypatch.setattr(os, "fsync", counted(os.fsync))
    monkeypatch.setattr(os, "replace", counted(os.replace))
    with pytest.raises(type(failure)):
        save(path, {"x": np.ones(3)}, {}, keep)
    monkeypatch.undo()
    whole = [load(p)[0]["x"][0] for p in (path, keep) if p.exists()]
    assert whole and whole[0] == (1 if nth == 8 else 0)
    if isinstance(failure, OSError):
        assert not list(tmp_path.glob("*.tmp-*"))


def test_a_full_disk_is_one_line_with_the_bytes_needed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync",
                        lambda fd: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(OSError,
                       match=r"cannot write .*f: No space left on device "
                             r"\([\d,]+ bytes needed, [\d,]+ free\)"):
        save(tmp_path / "f", {"x": np.zeros(3)}, {})


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0,
                    reason="needs a directory that refuses this user")
def test_a_read_only_directory_is_one_line(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OSError, match="cannot write .*Permission denied"):
        save(tmp_path / "f", {"x": np.zeros(3)}, {})


def test_a_disk_that_is_read_only_is_named_by_the_file_that_was_wanted(tmp_path, monkeypatch):
    """There neither the temporary file can be made nor one be removed; the second refusal must not hide the
    first."""
    def refused(path, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(OSError, match=r"cannot write .*absent.model.safetensors: .*\(\d+ bytes needed"):
        save(tmp_path / "absent/model.safetensors", {"a": np.zeros(3)}, {})
