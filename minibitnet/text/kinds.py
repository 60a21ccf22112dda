"""Bytes that are no UTF-8 text: what are they? A model trains on NULs and compressed bytes without a word,
and reports a loss that means nothing."""
import codecs

SAMPLE = 2**16           # bytes that are looked at
MAGIC = {
    b"\x1f\x8b": "a gzip file", b"BZh": "a bzip2 file", b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file", b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"PK\x03\x04": "a zip archive (or a docx, xlsx, npz ...)", b"%PDF-": "a PDF",
    b"{\\rtf": "an RTF document", b"\xd0\xcf\x11\xe0": "an Office document", b"PAR1": "a Parquet file",
    b"SQLite format 3\x00": "a database",
    b"\x89PNG": "a picture", b"\xff\xd8\xff": "a picture", b"GIF8": "a picture", b"\x7fELF": "a program",
    b"GGUF": "a GGUF model", b"\x93NUMPY": "a NumPy array", b"\x80\x04\x95": "a pickle",
}
WIDE = {codecs.BOM_UTF32_LE: "UTF-32", codecs.BOM_UTF32_BE: "UTF-32", codecs.BOM_UTF16_LE: "UTF-16",
        codecs.BOM_UTF16_BE: "UTF-16"}


def kind_of(raw):
    """The beginning of a file -> what it is, in words with what to do, or None for what may be text.

    Text in two or four bytes a character shows by its mark, or by NULs in every second byte or more: text in
    one byte a character holds none. A file of another kind shows by how it begins.
    """
    raw = raw[:SAMPLE]
    encoding = next((name for mark, name in WIDE.items() if raw.startswith(mark)), None)
    nuls = raw.count(0)
    if not encoding and nuls and nuls == len(raw):
        return "nothing but NUL bytes"
    if not encoding and nuls > len(raw) / 4 and max(raw[::2].count(0), raw[1::2].count(0)) > 0.8 * nuls:
        encoding = "UTF-16"
    if encoding:
        return (f"text in {encoding}, which PowerShell's > writes: save it as UTF-8 (in PowerShell: "
                f"Get-Content FILE | Set-Content -Encoding utf8 NEW)")
    for magic, what in MAGIC.items():
        if raw.startswith(magic):
            return f"{what}: unpack it, or take the text out of it"
    many = nuls >= 16 and nuls > len(raw) / 10
    return f"binary: {nuls:,} of its first {len(raw):,} bytes are NUL" if many else None
