import os

import pytest

from minibitnet.errors import UserError
from minibitnet.text.corpora import decode_utf8, load_corpus


def test_pydoc_is_real_english_of_at_least_300_kb():
    corpus = load_corpus("pydoc")
    assert len(corpus.text) > 300_000 and " the " in corpus.text and corpus.replaced == 0
    assert load_corpus("pydoc") == corpus


def test_a_file_is_read_as_it_is_without_its_byte_order_mark(tmp_path):
    """Line ends, NULs and all: "a CR LF b NUL"."""
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\x00")
    corpus = load_corpus(str(tmp_path / "book.txt"))
    assert (corpus.name, corpus.text, corpus.replaced) == ("book", "a\r\nb\x00", 0)


def test_bytes_that_are_not_utf8_are_replaced_and_counted():
    """A stray continuation byte and a truncated character are two places; the U+FFFD that was there before is none."""
    assert decode_utf8("a\ufffd".encode() + b"\x80b\xe4\xbd") == ("a\ufffd\ufffdb\ufffd", 2)


@pytest.mark.parametrize("spec, message", [("absent.txt", "does not exist in "), ("pydocs", "did you mean pydoc"), ("empty", "is empty"),
                                           ("blank", "is empty"), ("folder", "is a directory"), ("fifo", "is not a regular file")])
def test_what_cannot_be_read_is_one_line(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "blank").write_bytes(b" \n\n")
    (tmp_path / "folder").mkdir()
    if spec == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no FIFOs on this system")
        os.mkfifo("fifo")                                # reading it would wait for ever
    with pytest.raises(UserError, match=message) as e:
        load_corpus(spec)
    assert repr(spec) in str(e.value)
