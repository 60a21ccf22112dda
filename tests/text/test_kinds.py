"""Files that are no UTF-8 text are refused by name, wherever a text is expected."""
import gzip
import json
import random

import pytest

from minibitnet.errors import UserError
from minibitnet.stories.tasks import read_jsonl
from minibitnet.text import corpora
from minibitnet.text.corpora import load_corpus
from minibitnet.text.kinds import MAGIC, kind_of
from minibitnet.text.tokenizer import load_tokenizer

LANGUAGES = {
    "English": "In the beginning was the word.\n", "French": "Été à la française: où êtes-vous, élèves?\n",
    "Russian": "Все счастливые семьи похожи друг на друга.\n", "Greek": "Στην αρχή ήταν ο λόγος.\n",
    "Chinese": "天地玄黄，宇宙洪荒。一二三，日月盈昃。\n", "Japanese": "これは日本語の文章です。\n",
    "Korean": "모든 인간은 태어날 때부터 자유롭다.\n",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_wide_text_is_told_with_its_mark_and_without(language):
    """PowerShell's > writes UTF-16; Chinese in it has hardly a NUL, Russian no byte that UTF-8 has not."""
    text = LANGUAGES[language] * 100
    assert kind_of(text.encode()) is None and kind_of("\ufeff".encode() + text.encode()) is None
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"):
        name = encoding.upper()[:6]
        assert kind_of(text.encode(encoding)).startswith(f"text in {name}"), encoding


@pytest.mark.parametrize("language, encoding", [
    ("Russian", "cp1251"), ("Russian", "koi8-r"), ("Greek", "cp1253"), ("Chinese", "gb18030"),
    ("Japanese", "shift_jis"), ("Korean", "euc-kr")])
def test_another_alphabet_in_bytes_of_its_own_is_no_utf8(language, encoding):
    assert kind_of((LANGUAGES[language] * 100).encode(encoding)).startswith("no text in UTF-8: ")


@pytest.mark.parametrize("language", ["English", "French"])
def test_western_text_in_bytes_of_its_own_is_read_and_counted(language):
    assert kind_of((LANGUAGES[language] * 100).encode("cp1252")) is None


def test_what_is_no_text_is_named():
    rng = random.Random(0)
    assert kind_of(gzip.compress(b"words " * 100)).startswith("a gzip file: unpack it")
    for magic, what in MAGIC.items():
        assert kind_of(magic + b" and so on").startswith(what)
    assert kind_of(b"name".ljust(257, b"\0") + b"ustar").startswith("a tar archive")
    assert kind_of(bytes(100)) == "nothing but NUL bytes"
    assert kind_of(rng.randbytes(10_000)).startswith(("no text in UTF-8", "binary"))
    assert kind_of(bytes(rng.choice([0, 1, 9, 200]) for _ in range(10_000))).startswith("binary")
    assert kind_of(b"") is None and kind_of(b"a\0b") is None and kind_of(b"\x1b[31mred\x1b[0m\n") is None


@pytest.mark.parametrize("in_memory", [2**26, 0])
def test_a_text_that_ends_in_nuls_is_not_taken(in_memory, tmp_path, monkeypatch):
    """As a disk leaves it that was full; what stands at its beginning is text. raw: takes it all the same."""
    monkeypatch.setattr(corpora, "IN_MEMORY", in_memory)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cut.txt").write_bytes(b"words\n" * 20_000 + bytes(20_000))
    with pytest.raises(UserError, match=r"'cut.txt' is binary: 20,000 of its 140,000 bytes are NUL \(or, to "
                                        r"take its bytes as they are, name it raw:cut.txt\)"):
        load_corpus("cut.txt")
    corpus = load_corpus("raw:cut.txt")
    assert (corpus.name, corpus.size) == ("cut", 140_000) and corpus.text.count("\0") == 20_000


def test_many_places_that_are_no_utf8_are_told_with_the_likely_encoding(tmp_path):
    (tmp_path / "few.txt").write_bytes(b"words " * 100 + b"\xe9")
    (tmp_path / "many.txt").write_bytes("déjà vu, ".encode("cp1252") * 9)
    assert load_corpus(tmp_path / "few.txt").replaced_in_words == \
        "1 places were not UTF-8 and became U+FFFD"
    assert load_corpus(tmp_path / "many.txt").replaced_in_words == \
        "18 places were not UTF-8 and became U+FFFD (is it in Windows-1252 or Latin-1? Save it as UTF-8)"


def test_lines_without_a_word_are_blank_and_not_empty(tmp_path):
    for raw, word in ((b"", "empty"), (b"\n" * 9, "blank")):
        (tmp_path / "t.txt").write_bytes(raw)
        for read in (load_corpus, read_jsonl):
            with pytest.raises(UserError, match=f"is {word}"):
                read(tmp_path / "t.txt")


def test_tokenizers_and_tasks_are_refused_by_name_too(tmp_path):
    line = json.dumps({"query": "a", "choices": ["b", "c"], "gold": 0}) + "\n"
    for raw, words in ((line.encode("utf-16"), "is text in UTF-16"), (line.encode("utf-16-le"), "UTF-16"),
                       (gzip.compress(line.encode()), "is a gzip file")):
        (tmp_path / "t.jsonl").write_bytes(raw)
        for read in (read_jsonl, load_tokenizer, load_corpus):
            with pytest.raises(UserError, match=words):
                read(tmp_path / "t.jsonl")
