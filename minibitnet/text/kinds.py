"""Bytes that are no UTF-8 text: what are they? A model trains on NULs and compressed bytes without a word,
and reports a loss that means nothing."""
import codecs

SAMPLE = 2**16           # bytes that are looked at
CONTROLS = bytes([*range(9), *range(14, 27), *range(28, 32)])           # no white space, no colours
MAGIC = {
    b"\x1f\x8b": "a gzip file", b"\x1f\x9d": "a compressed file", b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file", b"\x28\xb5\x2f\xfd": "a zstd file", b"\x04\x22\x4d\x18": "an lz4 file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive", b"Rar!\x1a": "a rar archive",
    b"PK\x03\x04": "a zip archive (or a docx, xlsx, epub, npz ...)", b"%PDF-": "a PDF",
    b"{\\rtf": "an RTF document", b"\xd0\xcf\x11\xe0": "an Office document", b"PAR1": "a Parquet file",
    b"SQLite format 3\x00": "a database", b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"GIF8": "a picture", b"\x7fELF": "a program",
    b"GGUF": "a GGUF model", b"\x93NUMPY": "a NumPy array", b"\x80\x04\x95": "a pickle",
}
WIDE = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
        codecs.BOM_UTF16_BE: "UTF-16"}
SAVE = "save it as UTF-8 (in PowerShell: Get-Content FILE | Set-Content -Encoding utf8 NEW)"


def kind_of(raw):
    """The beginning of a file -> what it is, in words with what to do, or None for what may be text.

    Text in two or four bytes a character shows by its mark, or by NULs (in a line end at least) where all of
    it makes characters when it is read as such. A file of another kind shows by how it begins.
    """
    raw = raw[:SAMPLE]
    encoding = next((name for mark, name in WIDE.items() if raw.startswith(mark)), None)
    controls, undecodable = len(raw) - len(raw.translate(None, CONTROLS)), _decode(raw).count("\ufffd")
    if not encoding and controls and raw.count(0) == len(raw):
        return "nothing but NUL bytes"
    if not encoding and 0 in raw and controls + undecodable > max(4, len(raw) / 10):
        encoding = next((name.upper()[:6] for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
                         if _is_text(raw, name)), None)
    if encoding:
        wrote = ", which PowerShell's > writes" * (encoding == "UTF-16")
        return f"text in {encoding}{wrote}: {SAVE}"
    magic = [what for begin, what in MAGIC.items() if raw.startswith(begin)]
    if magic or raw[257:262] == b"ustar":
        return f"{magic[0] if magic else 'a tar archive'}: unpack it, or take the text out of it"
    if controls >= 16 and controls > len(raw) / 10:
        return f"binary: {controls:,} of its first {len(raw):,} bytes are NULs and the like"
    if undecodable > max(4, len(raw) / 4):                # Western European text has a tenth at most
        return (f"no text in UTF-8: {undecodable:,} places of its first {len(raw):,} bytes are none. If it is"
                f" text (in Windows-1251, GB18030, Shift JIS ...), {SAVE}")
    return None


def too_many_nuls(nuls, size):
    """A whole text may end in NULs, where a disk was full or a machine stopped -> as ``kind_of``."""
    return f"binary: {nuls:,} of its {size:,} bytes are NUL" if nuls >= 16 and nuls > size / 10 else None


def _decode(raw):
    return codecs.getincrementaldecoder("utf-8")("replace").decode(raw)          # the last one may be cut


def _is_text(raw, encoding):
    """Does a piece of a file make characters in this encoding? (ASCII in UTF-16 has its NULs at odd places or
    at even ones, not here and there.)"""
    if raw.isascii() and raw[encoding.endswith("le")::2].count(0) < 0.9 * raw.count(0) and "16" in encoding:
        return False
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(raw)
    except UnicodeDecodeError:
        return False
    return sum(c.isprintable() or c.isspace() for c in text) > 0.98 * len(text) > 0


def replaced_in_words(replaced, size):
    """What became of the places of a text of so many bytes that are no UTF-8; "" where there is none."""
    if not replaced:
        return ""
    likely = " (is it in Windows-1252 or Latin-1? Save it as UTF-8)" if replaced > size / 100 else ""
    return f"{replaced:,} places were not UTF-8 and became U+FFFD{likely}"
