"""The data command, as a user runs it."""
import hashlib
import os
import re
import subprocess
import sys

import pytest

from minibitnet.data_files import packaged
from minibitnet import data
from minibitnet.errors import UserError
from minibitnet.stories import entropy, pets, walk
from minibitnet.text.corpora import WITH_GRAMMAR
from minibitnet.text.downloads import DOWNLOADS, Download


def command(*args, cwd):
    return subprocess.run([sys.executable, "-m", "minibitnet.data", *map(str, args)], cwd=cwd,
                          capture_output=True, text=True, encoding="utf-8",
                          timeout=100, env={**os.environ, "MINIBITNET_DATA": str(cwd / "data")})


def fails(code, *words, args, cwd):
    result = command(*args, cwd=cwd)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == code and len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    for word in words:
        assert word in lines[0], lines[0]


def test_list_shows_every_corpus_its_licence_and_where_it_is(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/enwik8.txt").write_text("words")
    rows = {line.split()[0]: line for line in command("list", cwd=tmp_path).stdout.splitlines() if line}
    assert {"stories", "pets", "pydoc", *DOWNLOADS} <= set(rows)
    assert "CC BY-SA" in rows["enwik8"] and " 5 " in rows["enwik8"]
    assert str(tmp_path / "data/enwik8.txt") in rows["enwik8"]
    assert "1,115,394" in rows["tinyshakespeare"] and rows["tinyshakespeare"].endswith("not fetched")


def test_info_by_pencil(tmp_path):
    """é a CR LF, a marker line, b, a stray byte LF, a: 2+1+2 + 13+1 + 1+1+1 + 1 = 23 bytes, 22 characters,
    4 lines, 2 documents. Tokens: end é a end b � LF a end, for the CR LF before a marker line goes with it:
    6 of text, of 2 + 1 + 1 + 3 + 1 + 1 = 9 bytes (� is 3)."""
    raw = b"\xc3\xa9a\r\n<|endoftext|>\nb\xff\na"
    (tmp_path / "book.txt").write_bytes(raw)
    rows = dict(line.split(maxsplit=1) for line in command("info", "book.txt", "--tokenizer", "char",
                                                           cwd=tmp_path).stdout.splitlines())
    assert rows["bytes"] == "23" and rows["characters"] == "22, 16 of them distinct" and rows["lines"] == "4"
    assert rows["documents"] == "2"
    assert rows["sha256"] == hashlib.sha256(raw).hexdigest() and rows["replaced"].startswith("1 ")
    assert rows["tokens"] == "9 of char, 1.500 bytes each but for 3 ends of documents"
    (tmp_path / "plain.txt").write_text("abab")
    out = command("info", "plain.txt", cwd=tmp_path).stdout
    assert "characters  4, 2 of them distinct\nlines       1\n" in out and "documents   none" in out
    assert "tokens" not in out


def test_a_byte_is_a_byte(tmp_path):
    """Under the byte tokenizer every token of text is one byte, markers and bytes that are not UTF-8 or
    not; BPE's bytes are those that `tokenizer train` tells."""
    text = "\n<|endoftext|>\n".join(["the theme of the thing"] * 9)
    (tmp_path / "book.txt").write_bytes(text.encode() + b"\xff\xfe")
    (tmp_path / "plain.txt").write_bytes(b"\xff" * 30)
    for name in ("book.txt", "raw:plain.txt"):
        assert ", 1.000 bytes each" in command("info", name, "--tokenizer", "byte", cwd=tmp_path).stdout
    trained = subprocess.run([sys.executable, "-m", "minibitnet.tokenizer", "train", "--data", "book.txt",
                              "--vocab-size", "260", "--out", "v.tiktoken"],
                             cwd=tmp_path, capture_output=True, text=True).stdout
    per_token, = re.findall(r"(\d\.\d{3}) bytes per token", trained)
    assert f", {per_token} bytes each but for 10 ends" in command("info", "book.txt", "--tokenizer",
                                                                  "v.tiktoken", cwd=tmp_path).stdout
    assert float(per_token) > 1.2


def test_fetch_keeps_prints_the_licence_and_does_not_fetch_twice(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIBITNET_DATA", str(tmp_path / "data"))
    monkeypatch.setitem(DOWNLOADS, "little", Download("little", 5, "CC0", "https://example.org/l",
                                                      hashlib.sha256(b"words").hexdigest()))
    (tmp_path / "copy").write_bytes(b"words")
    assert data.main(["fetch", "little", "--from-file", str(tmp_path / "copy")]) == 0
    out = capsys.readouterr().out
    assert "licence CC0, from https://example.org/l" in out and "its sha256 is right" in out
    assert "--data little" in out
    assert data.main(["fetch", "little"]) == 0                     # no network is needed
    assert "was there already" in capsys.readouterr().out
    (tmp_path / "data/little.txt").write_bytes(b"sword")
    (tmp_path / "copy").write_bytes(b"sword")
    with pytest.raises(UserError, match="its sha256 is"):
        data.main(["fetch", "little", "--from-file", str(tmp_path / "copy")])


def test_mistakes_are_one_line(tmp_path):
    (tmp_path / "book.txt").write_text("words")
    fails(1, "book.txt: 5 bytes came, expected 1,115,394",
          args=["fetch", "tinyshakespeare", "--from-file", "book.txt"], cwd=tmp_path)
    assert list((tmp_path / "data").iterdir()) == []
    fails(2, "invalid choice: 'tinyshakespear'", args=["fetch", "tinyshakespear"], cwd=tmp_path)
    fails(2, "invalid choice: 'fetsch'", args=["fetsch"], cwd=tmp_path)
    fails(2, "required: make|fetch|list|info", args=[], cwd=tmp_path)
    fails(2, "did you mean --tokenizer", args=["info", "book.txt", "--tokenize", "char"], cwd=tmp_path)
    fails(1, "absent.txt", "does not exist", args=["info", "absent.txt"], cwd=tmp_path)


def test_make_writes_the_stories_of_the_seed(tmp_path):
    for name in ("a.txt", "b.txt"):
        assert command("make", "stories", "--seed", 3, "--size", 20_000, "--out", name,
                       cwd=tmp_path).returncode == 0
    one, other = ((tmp_path / name).read_bytes() for name in ("a.txt", "b.txt"))
    assert one == other == walk.corpus(3, 20_000).encode()
    assert "documents" in command("info", "a.txt", cwd=tmp_path).stdout


def test_make_writes_pets_too(tmp_path):
    out = command("make", "pets", "--size", 5_000, cwd=tmp_path).stdout
    data = (tmp_path / "pets.txt").read_bytes()
    assert data == walk.corpus(0, 5_000, pets.LANGUAGE).encode() and out.endswith("bytes of pets, seed 0\n")
    assert list(entropy.languages()) == list(WITH_GRAMMAR)
    fails(1, "--size 10", "about 76 bytes", args=["make", "pets", "--size", 10, "--out", "p"], cwd=tmp_path)


def test_every_action_explains_itself(tmp_path):
    for action in ("make", "fetch", "list", "info"):
        assert f"minibitnet.data {action}" in command(action, "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize("name", WITH_GRAMMAR)
def test_the_packaged_texts_are_those_of_seed_0(name):
    """Byte for byte: whoever changes the grammar makes the file anew, and writes its sha256 into
    data/README.md."""
    there, size = packaged(f"{name}.txt").read_bytes(), data.SIZES[name]
    assert there == walk.corpus(0, size, entropy.languages()[name]).encode() and size <= 1_500_000
    assert hashlib.sha256(there).hexdigest() in (packaged("README.md")).read_text(encoding="utf-8")


def test_make_refuses_what_it_cannot_do(tmp_path):
    fails(1, "--seed -1", "from 0", args=["make", "stories", "--seed", -1], cwd=tmp_path)
    fails(1, "--seed 4294967296", args=["make", "stories", "--seed", 2**32], cwd=tmp_path)
    fails(1, "--size 10", "room for a story", args=["make", "stories", "--size", 10], cwd=tmp_path)
    (tmp_path / "mine.txt").write_text("precious")
    fails(1, "mine.txt is there already", "--overwrite", args=["make", "stories", "--out", "mine.txt"],
          cwd=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "precious"
    fails(1, "directory", args=["make", "stories", "--size", 2000, "--out", ".", "--overwrite"], cwd=tmp_path)
