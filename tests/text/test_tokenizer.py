import json

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.text.tokenizer import ByteTokenizer, CharTokenizer, load_tokenizer, make_tokenizer

TEXT = "naïve café — 你好 🙂\n"


def test_char_ids_are_places_in_the_sorted_alphabet():
    """The alphabet of "banana" is a b n."""
    tokenizer = CharTokenizer.train("banana")
    assert tokenizer.vocab_size == 3
    assert list(tokenizer.encode("banana")) == [1, 0, 2, 0, 2, 0]


def test_byte_ids_are_the_utf8_bytes():
    assert list(ByteTokenizer().encode("é")) == [0xC3, 0xA9]


@pytest.mark.parametrize("tokenizer", [CharTokenizer.train(TEXT), ByteTokenizer()], ids=["char", "byte"])
def test_decode_inverts_encode_whole_and_streaming(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == TEXT
    piece = tokenizer.decode_stream()
    assert "".join(piece(i) for i in ids.tolist()) == TEXT
    assert tokenizer.count_bytes(ids) == len(TEXT.encode())
    assert tokenizer.encode("").size == 0 and tokenizer.decode([]) == ""


def test_half_a_character_counts_as_its_bytes():
    """The last byte of "é" alone decodes to U+FFFD, three bytes of UTF-8, but stands for one."""
    tokenizer = ByteTokenizer()
    assert tokenizer.count_bytes(tokenizer.encode("é")[1:]) == 1


def test_unknown_characters_are_counted_and_the_first_is_named():
    tokenizer = CharTokenizer.train("abc")
    with pytest.raises(UserError, match=r"2 of 5 characters are unknown .* the first one 'X' at 1: expected only the 3 characters"):
        tokenizer.encode("aXbYc")


def test_a_lone_surrogate_is_an_unknown_character_not_a_crash():
    """A command line with bytes that are not UTF-8 reaches Python as lone surrogates."""
    with pytest.raises(UserError, match=r"'\\udcff'"):
        CharTokenizer.train("abc").encode("a\udcff")
    assert ByteTokenizer().encode("\udcff").size == 3


def test_save_and_load(tmp_path):
    for spec in ("char", "byte"):
        tokenizer = make_tokenizer(spec, TEXT)
        (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer.to_json()), encoding="utf-8")
        again = make_tokenizer(str(tmp_path / "tokenizer.json"), "other text")
        assert np.array_equal(again.encode(TEXT), tokenizer.encode(TEXT)) and again.vocab_size == tokenizer.vocab_size


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"tokenizer": "char"}', '{"tokenizer": "char", "characters": ""}',
                                  '{"tokenizer": "char", "characters": "ba"}', '{"tokenizer": "char", "characters": "aa"}',
                                  '{"tokenizer": "char", "characters": ["a"]}', '{"tokenizer": "bpe"}', "[" * 100_000])
def test_a_damaged_tokenizer_file_is_one_line(text, tmp_path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match="t.json"):
        load_tokenizer(tmp_path / "t.json")


def test_a_file_of_other_bytes_and_an_absent_one_are_one_line(tmp_path):
    (tmp_path / "t.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not JSON"):
        load_tokenizer(tmp_path / "t.json")
    with pytest.raises(UserError, match="expected char, byte or a saved"):
        make_tokenizer("chars", TEXT)
