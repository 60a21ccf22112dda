import os
import random

import pytest

from minibitnet.errors import UserError
from minibitnet.text import corpora
from minibitnet.text.corpora import (DOCUMENT_END, decode_pieces, decode_utf8, load_corpus, pieces,
                                     safe_cut, texts)


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
    """A stray continuation byte and a truncated character are two places; the U+FFFD that was there before
    is none."""
    assert decode_utf8("a\ufffd".encode() + b"\x80b\xe4\xbd") == ("a\ufffd\ufffdb\ufffd", 2)


@pytest.mark.parametrize("spec, message", [("absent.txt", "does not exist in "),
                                           ("pydocs", "did you mean pydoc"), ("empty", "is empty"),
                                           ("blank", "is blank, 3 bytes of white space"),
                                           ("folder", "is a directory"),
                                           ("loop", "a symbolic link to loop, which leads nowhere"),
                                           ("fifo", "is not a regular file")])
def test_what_cannot_be_read_is_one_line(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "blank").write_bytes(b" \n\n")
    (tmp_path / "folder").mkdir()
    if hasattr(os, "symlink") and spec == "loop":
        os.symlink("loop", "loop")
    if spec == "fifo":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no FIFOs on this system")
        os.mkfifo("fifo")                                # reading it would wait for ever
    with pytest.raises(UserError, match=message) as e:
        load_corpus(spec)
    assert repr(spec) in str(e.value)


def cut(whole, size):
    return [whole[i:i + size] for i in range(0, len(whole), size)]


# ---- names

def test_a_fetched_text_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIBITNET_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"'wikitext-2-raw-test' was not fetched yet: python -m "
                                        r"minibitnet.data fetch wikitext-2-raw \("):
        load_corpus("wikitext-2-raw-test")
    (tmp_path / "wikitext-2-raw-test.txt").write_text("words", encoding="utf-8")
    corpus = load_corpus("wikitext-2-raw-test")
    assert (corpus.name, corpus.text, corpus.size) == ("wikitext-2-raw-test", "words", 5)


def test_a_mistyped_name_is_told_its_neighbour():
    with pytest.raises(UserError, match="did you mean tinyshakespeare"):
        load_corpus("tinyshakespear")


# ---- decoding in pieces

@pytest.mark.parametrize("seed", range(200))
def test_decoding_in_pieces_is_decoding_the_whole(seed):
    """Characters of one to four bytes, halves of them, stray bytes, byte order marks and U+FFFD, cut
    anywhere."""
    rng = random.Random(seed)
    raw = b"".join(rng.choice([b"a", b"\n", "é".encode(), "你".encode(), "🙂".encode(), b"\xe4\xbd",
                               b"\xf0\x9f", b"\x80", b"\xff", b"\xed\xa0\x80",
                               b"\xef\xbb\xbf", "\ufffd".encode(), b"\xc0\xaf", b"\x80" * 5])
                   for _ in range(rng.randrange(30)))
    decoded = list(decode_pieces(cut(raw, rng.choice([1, 2, 3, 5, 7]))))
    assert ("".join(text for text, _ in decoded), sum(n for _, n in decoded)) == decode_utf8(raw)


def test_a_large_corpus_is_read_in_pieces_and_is_the_same(tmp_path, monkeypatch):
    raw = b"\xef\xbb\xbf" + "naïve 你好 🙂 \x00\r\n".encode() * 50 + b"\xff\n<|endoftext|>\nend"
    (tmp_path / "book.txt").write_bytes(raw)
    small = load_corpus(str(tmp_path / "book.txt"))
    monkeypatch.setattr(corpora, "IN_MEMORY", 100)
    monkeypatch.setattr(corpora, "PIECE", 7)
    large = load_corpus(str(tmp_path / "book.txt"))
    assert small.in_memory and not large.in_memory and len(list(large.chunks())) > 100
    for field in ("name", "text", "sha256", "replaced", "size", "has_documents"):
        assert getattr(small, field) == getattr(large, field), field
    assert large.replaced == 1 and large.has_documents
    (tmp_path / "book.txt").write_bytes(raw[:-1])
    with pytest.raises(UserError, match="changed while it was read"):
        list(large.chunks())
    (tmp_path / "blank.txt").write_bytes(b" \n" * 200)
    with pytest.raises(UserError, match="is blank, 400 bytes"):
        load_corpus(str(tmp_path / "blank.txt"))


# ---- documents

def documents_of(chunks):
    """The documents that the pieces make, without empty ones."""
    texts, begun = [], False
    for piece in pieces(chunks):
        if piece is not DOCUMENT_END:
            texts[begun and -1 or len(texts):] = [(texts[-1] if begun else "") + piece]
        begun = piece is not DOCUMENT_END
    return texts

def test_a_marker_line_ends_a_document():
    """Two documents as the generator writes them; what is not a line of its own is text."""
    assert list(documents_of(["One.\nTwo.\n<|endoftext|>\nThree.\n<|endoftext|>\n"])) == ["One.\nTwo.",
                                                                                          "Three."]
    assert (list(documents_of(["a <|endoftext|>\nb\n<|endoftext|> \n"]))
            == ["a <|endoftext|>\nb\n<|endoftext|> "])


@pytest.mark.parametrize("text, expected", [
    ("no marker at all\n", ["no marker at all"]), ("<|endoftext|>\na", ["a"]), ("a\n<|endoftext|>", ["a"]),
    ("a\r\n<|endoftext|>\r\nb\r\n", ["a", "b"]),
    ("a\n<|endoftext|>\n<|endoftext|>\n\n<|endoftext|>\nb", ["a", "b"]),
    ("a\n\n<|endoftext|>\n\nb", ["a\n", "\nb"]), ("", []),
    ("ab 7<|endoftext|>\nx\n<|endoftext|>y\n<|endoftext|>\nz",
     ["ab 7<|endoftext|>\nx\n<|endoftext|>y", "z"])])
@pytest.mark.parametrize("size", [1, 2, 7, 13, 1000])
def test_documents_do_not_depend_on_how_the_text_is_cut(text, expected, size):
    assert list(documents_of(cut(text, size))) == expected


def test_without_documents_the_marker_line_is_text():
    text = "a\n<|endoftext|>\nb b b"
    assert "".join(pieces(cut(text, 3), with_documents=False)) == text
    assert sum(p is DOCUMENT_END for p in pieces(cut(text, 3))) == 1


def test_a_text_without_documents_keeps_its_last_line_end(tmp_path):
    """Its tokenizer is trained on all of it: without the line end a character tokenizer would not know
    one."""
    (tmp_path / "book.txt").write_bytes(b"a b\n")
    assert "".join(texts(load_corpus(str(tmp_path / "book.txt")))) == "a b\n"
    (tmp_path / "book.txt").write_bytes(b"a b\n<|endoftext|>\nc\n")
    assert "".join(texts(load_corpus(str(tmp_path / "book.txt")))) == "a bc"


def test_safe_cuts_by_example():
    """The last one of each text, shown as |."""
    for marked in ("one two| three", "one|\n\ntwo", "one.\n|two", "a|\r\n", "one. \n two.|", "a.\n\nb|",
                   "x|", "ein Wort\n|字。\n"):
        text = marked.replace("|", "")
        assert safe_cut(text) == (0 if marked.endswith("|") else marked.index("|")), marked


def test_a_text_without_places_to_cut_is_not_searched_over_and_over(monkeypatch):
    searched = []
    monkeypatch.setattr(corpora, "safe_cut", lambda text: searched.append(len(text)) or 0)
    assert "".join(pieces(["x" * 100] * 1000)) == "x" * 100_000
    assert sum(searched) < 3 * 100_000
