"""Corpora to download: a pinned address, the number of bytes, the licence and the sha256 that the bytes
must have.

``fetch`` writes nothing under the final name that was not checked; ``from_file`` puts a copy that came some
other way (a USB stick in a room without network) through the same checks. A zip stays beside the texts that
are made from it.
"""
import hashlib
import http.client
import os
import urllib.error
import urllib.request
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from ..errors import UserError
from ..files import found, write_atomically

PIECE = 2**18           # bytes that are read at a time
TIMEOUT = 30            # seconds without an answer
MAX_INFLATION = 16      # times its zip's bytes that a text may have; English text deflates to about a third


class Download(NamedTuple):
    name: str
    size: int                        # bytes
    licence: str
    address: str
    sha256: str
    texts: dict = {}                 # of a zip: {name of a text: its members, one after the other}

    def folder_names(self):
        """What becomes a corpus in the data folder: the names of its texts."""
        return tuple(self.texts) or (self.name,)


# wikitext-2-raw is its training part followed by its validation part (the last 10 %, about, which is where
# our own validation part lies); the test part is a text of its own, for evaluate --data.
DOWNLOADS = {d.name: d for d in (
    Download("tinyshakespeare", 1_115_394, "public domain",
             "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/input.txt",
             "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
    Download("tinystories-valid", 19_447_282, "CDLA-Sharing-1.0",
             "https://huggingface.co/datasets/roneneldan/TinyStories/resolve/f54c09fd23315a6f9c86f9dc80f725de7d8f9c64/TinyStories-valid.txt",
             "94e431816c4cce81ff71e4408ff8d3bda9a42e8d2663986697c3954288cb38b4"),
    Download("wikitext-2-raw", 4_721_645, "CC BY-SA 3.0",
             "https://huggingface.co/datasets/ggml-org/ci/resolve/927b3642933080f1b0e811e2f916e14c292992f9/wikitext-2-raw-v1.zip",
             "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
             {"wikitext-2-raw": ("wikitext-2-raw/wiki.train.raw", "wikitext-2-raw/wiki.valid.raw"),
              "wikitext-2-raw-test": ("wikitext-2-raw/wiki.test.raw",)}),
    Download("enwik8", 36_445_475, "CC BY-SA", "https://mattmahoney.net/dc/enwik8.zip",
             "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc", {"enwik8": ("enwik8",)}),
)}


def data_folder():
    """Where downloads and token streams live: $MINIBITNET_DATA, or minibitnet in the user's cache folder
    ($XDG_CACHE_HOME or ~/.cache; on Windows %LOCALAPPDATA%)."""
    if os.environ.get("MINIBITNET_DATA"):
        return Path(os.environ["MINIBITNET_DATA"])
    cache = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    try:
        return Path(cache or Path.home() / ".cache") / "minibitnet"
    except RuntimeError:
        raise UserError("this user has no home folder: name a folder for data in the environment variable "
                        "MINIBITNET_DATA") from None


def text_path(name):
    """The file of a fetched text."""
    return data_folder() / f"{name}.txt"


def find(name):
    """The Download that a text of this name comes from, or None."""
    return next((d for d in DOWNLOADS.values() if name in d.folder_names()), None)


def fetch(download, from_file=None, report=lambda n: None):
    """Put the texts of a Download into the data folder -> False where its bytes were there already.

    from_file: a local copy of the file at the download's address, in place of the network. report(n) is
    called after every n bytes that came.
    """
    target = data_folder() / f"{download.name}.zip" if download.texts else text_path(download.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    missing = not has_sha256(target, download)
    if missing:
        pieces, source, hint = (_of_file(from_file), from_file,
                                f"Is it the file of {download.address}?") if from_file else \
                               (_of_address(download), download.address, _offline(download))
        write_atomically(target, _checked(pieces, download, source, hint, report), download.size)
    for name, members in download.texts.items():
        extract(target, members, text_path(name))
    return missing


def has_sha256(path, download):
    """Is the file there, with the bytes that the download must have?"""
    if not path.is_file() or path.stat().st_size != download.size:
        return False
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() == download.sha256


def extract(archive, members, target):
    """Write the members of a zip, one after the other, to target. Only their bytes are used, never a path
    of the zip's."""
    try:
        with zipfile.ZipFile(archive) as z:
            size = sum(z.getinfo(member).file_size for member in members)
            if size > MAX_INFLATION * archive.stat().st_size:
                raise UserError(f"{archive}: its text would have {size:,} bytes, more than {MAX_INFLATION} "
                                f"times the zip's: that is no text")
            write_atomically(target, (piece for member in members for piece in _inflated(z, member)), size)
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, NotImplementedError, RuntimeError) as e:
        raise UserError(f"{archive}: expected a zip that holds {' and '.join(members)}: "
                        f"{str(e.args[0] if e.args else e)}") from None


def _inflated(z, member):
    """The bytes of a zip's member, in pieces; zipfile reads no more than the size in its directory, and
    checks their CRC."""
    with z.open(member) as f:
        while piece := f.read(PIECE):
            yield piece


def _checked(pieces, download, source, hint, report):
    """Pass the pieces on; UserError as soon as there are too many bytes, and at the end if they are not the
    expected ones."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        size += len(piece)
        if size > download.size:
            raise UserError(f"{source}: more than the expected {download.size:,} bytes came; nothing was "
                            f"kept. {hint}")
        digest.update(piece)
        report(len(piece))
        yield piece
    if size < download.size:
        raise UserError(f"{source}: {size:,} bytes came, expected {download.size:,}; nothing was kept. "
                        f"{hint}")
    if digest.hexdigest() != download.sha256:
        raise UserError(f"{source}: its sha256 is {digest.hexdigest()}, expected {download.sha256}; nothing "
                        f"was kept. {hint}")


def _of_file(path):
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: expected a file, found {found(path)}")
    try:
        with open(path, "rb") as f:
            while piece := f.read(PIECE):
                yield piece
    except OSError as e:                              # or it would look like a failure to write
        raise UserError(f"{path}: {e.strerror}: expected a file to read") from None


class _StayOnHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, *args):
        new = super().redirect_request(request, *args)
        if request.type == "https" and new is not None and new.type != "https":
            raise urllib.error.URLError(f"it redirects to {new.full_url}, which is not https")
        return new


def _of_address(download):
    """The body at the download's address, in pieces. A proxy that the environment names is used."""
    request = urllib.request.Request(download.address, headers={"User-Agent": "minibitnet"})
    try:
        with urllib.request.build_opener(_StayOnHttps).open(request, timeout=TIMEOUT) as response:
            while piece := response.read(PIECE):
                yield piece
    except urllib.error.HTTPError as e:
        reason = f"HTTP {e.code} {e.reason}"
    except urllib.error.URLError as e:
        reason = str(getattr(e.reason, "strerror", None) or e.reason)
    except (OSError, http.client.HTTPException) as e:
        reason = str(e) or type(e).__name__
    else:
        return
    raise UserError(f"{download.address}: {reason}. {_offline(download)}")


def _offline(download):
    return (f"Without network, get the file elsewhere, then: python -m minibitnet.data fetch "
            f"{download.name} --from-file PATH")
