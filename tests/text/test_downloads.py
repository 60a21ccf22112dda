"""Downloads against a server of our own: whatever goes wrong, one line, and nothing under the final name."""
import contextlib
import hashlib
import http.server
import io
import threading
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest

from minibitnet.errors import UserError
from minibitnet.text import downloads
from minibitnet.text.downloads import DOWNLOADS, Download, data_folder, fetch, find

# 477,000 bytes: more than a piece
BODY = b"It was the best of times, it was the worst of times.\n" * 9000


def zip_of(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members.items():
            z.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


class Handler(http.server.BaseHTTPRequestHandler):
    bodies = {"/book": BODY, "/long": BODY + b"x", "/short": BODY[:-1], "/other": b"x" + BODY[1:]}

    def do_GET(self):
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/book")
            return self.end_headers()
        if self.path == "/silent":
            return threading.Event().wait(1)
        if self.path not in (*self.bodies, "/endless", "/cut"):
            return self.send_error(404)
        self.send_response(200)
        if self.path == "/cut":                          # promises more than it sends
            self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        with contextlib.suppress(OSError):               # the client hangs up
            self.wfile.write(self.bodies.get(self.path, BODY[:1000]))
            while self.path == "/endless":
                self.wfile.write(BODY)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIBITNET_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "data"


def book(address, body=BODY, **texts):
    return Download("book", len(body), "public domain", address, hashlib.sha256(body).hexdigest(), texts)


@pytest.mark.parametrize("path", ["/book", "/moved"])
def test_a_download_is_kept_and_not_fetched_again(path, server, folder):
    sizes = []
    assert fetch(book(server + path), report=sizes.append) is True
    assert (folder / "book.txt").read_bytes() == BODY and sum(sizes) == len(BODY) and len(sizes) > 1
    assert fetch(book("http://127.0.0.1:9/nobody-listens")) is False


def test_a_damaged_copy_is_fetched_again(server, folder):
    folder.mkdir()
    (folder / "book.txt").write_bytes(b"y" + BODY[1:])
    assert fetch(book(server + "/book")) is True and (folder / "book.txt").read_bytes() == BODY


@pytest.mark.parametrize("path, message", [
    ("/long", r"more than the expected 477,000 bytes"), ("/endless", r"more than the expected 477,000 bytes"),
    ("/short", r"476,999 bytes came, expected 477,000"),
    ("/cut", r"1,000 bytes came, expected 477,000|IncompleteRead"),
    ("/other", r"its sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}"),
    ("/absent", r"HTTP 404"),
    ("/silent", r"timed out")])
def test_what_is_not_the_download_is_one_line_and_leaves_nothing(path, message, server, folder, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    with pytest.raises(UserError, match=message) as e:
        fetch(book(server + path))
    assert server + path in str(e.value) and "--from-file" in str(e.value) and "\n" not in str(e.value)
    assert list(folder.iterdir()) == []


def test_no_network_is_one_line(folder):
    with pytest.raises(UserError, match=r"http://127.0.0.1:9/x: .*fetch book --from-file PATH"):
        fetch(book("http://127.0.0.1:9/x"))
    assert list(folder.iterdir()) == []


def test_ctrl_c_leaves_nothing(server, folder):
    def interrupt(n):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        fetch(book(server + "/book"), report=interrupt)
    assert list(folder.iterdir()) == []


def test_a_redirect_does_not_leave_https():
    redirect = downloads._StayOnHttps().redirect_request
    request = urllib.request.Request("https://example.org/a")
    assert redirect(request, None, 302, "", {}, "https://example.org/b").full_url == "https://example.org/b"
    with pytest.raises(urllib.error.URLError, match="not https"):
        redirect(request, None, 302, "", {}, "http://example.org/b")


def test_a_local_copy_passes_the_same_checks(tmp_path, folder):
    (tmp_path / "copy").write_bytes(BODY)
    assert fetch(book("http://127.0.0.1:9/"), tmp_path / "copy") is True
    assert (folder / "book.txt").read_bytes() == BODY


@pytest.mark.parametrize("body, message",
                         [(BODY + b"x", "more than the expected"), (BODY[:-1], "476,999 bytes came"),
                                           (b"x" + BODY[1:], "its sha256 is"),
                          (None, "expected a file, found nothing")])
def test_a_wrong_local_copy_is_one_line_and_leaves_nothing(body, message, tmp_path, folder):
    if body:
        (tmp_path / "copy").write_bytes(body)
    with pytest.raises(UserError, match=message) as e:
        fetch(book("http://example.org/book"), tmp_path / "copy")
    assert "copy" in str(e.value) and list(folder.iterdir()) == []


def test_texts_are_made_of_a_zips_members_in_order(tmp_path, folder):
    """Members a/one and a/two become text "both" = one two; no path of the zip's is used."""
    body = zip_of(a__one=b"one ", a__two=b"two", **{"..__..__evil": b"evil"})
    (tmp_path / "copy.zip").write_bytes(body)
    download = book("http://example.org/z", body, both=("a/one", "a/two"), second=("a/two",))
    assert fetch(download, tmp_path / "copy.zip") is True and fetch(download) is False
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {"book.zip": body, "both.txt": b"one two",
                                                                  "second.txt": b"two"}
    assert {p.name for p in tmp_path.iterdir()} == {"copy.zip", "data"}


@pytest.mark.parametrize("body, message", [(zip_of(other=b"x"), "no item named 'text'"),
                                           (b"<html>no zip</html>", "not a zip"),
                                           (zip_of(text=bytes(10**6)),
                                            r"1,000,000 bytes, more than 16 times"),
                                           (zip_of(text=b"abcdefgh" * 4).replace(b"PK\x01\x02",
                                                                                 b"PK\x09\x09"),
                                            "holds text")],
                         ids=["another member", "no zip", "a bomb", "a broken directory"])
def test_a_zip_that_is_not_what_it_should_be_is_one_line(body, message, tmp_path, folder):
    (tmp_path / "copy.zip").write_bytes(body)
    with pytest.raises(UserError, match=message):
        fetch(book("http://example.org/z", body, text=("text",)), tmp_path / "copy.zip")
    assert [p.name for p in folder.iterdir()] == ["book.zip"]


def test_a_member_whose_bytes_are_damaged_is_one_line(tmp_path, folder):
    """A byte of the deflated data flipped: zipfile's CRC sees it."""
    body = bytearray(zip_of(text=b"abcdefghijklmnop"))
    body[40] ^= 0xFF
    (tmp_path / "copy.zip").write_bytes(body)
    with pytest.raises(UserError, match="expected a zip that holds text"):
        fetch(book("http://example.org/z", bytes(body), text=("text",)), tmp_path / "copy.zip")
    assert [p.name for p in folder.iterdir()] == ["book.zip"]


def test_the_table_is_complete_and_every_address_is_pinned_to_https():
    for name, d in DOWNLOADS.items():
        assert d.name == name and d.address.startswith("https://") and d.size > 0 and d.licence
        assert len(bytes.fromhex(d.sha256)) == 32
    assert find("wikitext-2-raw-test").name == "wikitext-2-raw" and find("absent") is None


def test_the_data_folder_is_named_by_the_environment_or_lies_in_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIBITNET_DATA", str(tmp_path))
    assert data_folder() == tmp_path
    monkeypatch.delenv("MINIBITNET_DATA")
    monkeypatch.setattr(downloads, "os",
                        type("os", (), {"name": "posix", "environ": {"XDG_CACHE_HOME": str(tmp_path)}}))
    assert data_folder() == tmp_path / "minibitnet"
    downloads.os.environ = {}
    assert data_folder() == Path.home() / ".cache" / "minibitnet"
    downloads.os.name, downloads.os.environ = "nt", {"LOCALAPPDATA": str(tmp_path)}
    assert data_folder() == tmp_path / "minibitnet"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    downloads.os.environ = {}
    with pytest.raises(UserError, match="MINIBITNET_DATA"):
        data_folder()
