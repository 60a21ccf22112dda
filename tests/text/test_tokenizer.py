import base64
import json

import numpy as np
import pytest
import tiktoken

from minibitnet.errors import UserError
from minibitnet.text.bpe_files import GPT2_PATTERN, write_ranks
from minibitnet.text.tokenizer import (BPETokenizer, ByteTokenizer, CharTokenizer, load_tokenizer,
                                       make_tokenizer)

TEXT = "naïve café — 你好 🙂\n"
BPE = make_tokenizer("bpe:280", (TEXT + "the naïve cafés of the cafés, ") * 3)


def test_char_ids_are_places_in_the_sorted_alphabet():
    """The alphabet of "banana" is a b n."""
    tokenizer = CharTokenizer.train("banana")
    assert tokenizer.vocab_size == 3
    assert list(tokenizer.encode("banana")) == [1, 0, 2, 0, 2, 0]


def test_byte_ids_are_the_utf8_bytes():
    assert list(ByteTokenizer().encode("é")) == [0xC3, 0xA9]


ALL = pytest.mark.parametrize("tokenizer",
                              [CharTokenizer.train(TEXT), CharTokenizer.train(TEXT, with_end=True),
                               ByteTokenizer(), ByteTokenizer(with_end=True), BPE],
                              ids=["char", "char with end", "byte", "byte with end", "bpe"])


@ALL
def test_decode_inverts_encode_whole_and_streaming(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == TEXT
    piece = tokenizer.decode_stream()
    assert "".join(piece(i) for i in ids.tolist()) == TEXT
    assert tokenizer.count_bytes(ids) == len(TEXT.encode())
    assert tokenizer.encode("").size == 0 and tokenizer.decode([]) == ""


@ALL
def test_the_end_token_is_the_last_id_and_stands_for_no_text(tokenizer):
    if tokenizer.end is None:
        return
    assert tokenizer.end == tokenizer.vocab_size - 1
    ids = [*tokenizer.encode("你"), tokenizer.end, *tokenizer.encode("好"), tokenizer.end]
    assert tokenizer.decode(ids) == "你好" and tokenizer.count_bytes(ids) == 6
    piece = tokenizer.decode_stream()
    assert "".join(piece(i) for i in ids) == "你好" and piece(tokenizer.end) == ""
    assert tokenizer.end not in tokenizer.encode(TEXT)


def test_without_documents_there_is_no_end_token_but_in_bpe():
    assert CharTokenizer.train("ab").end is None and ByteTokenizer().end is None and BPE.end == 279
    assert [make_tokenizer(spec, "abcc", with_end=True).end for spec in ("char", "byte")] == [3, 256]


@ALL
def test_ids_that_are_none_are_one_line(tokenizer):
    for bad in ([tokenizer.vocab_size], [0, -1], [0.5], ["a"], np.array([2**40])):
        for use in (tokenizer.decode, tokenizer.count_bytes):
            with pytest.raises(UserError,
                               match=f"expected whole numbers from 0 to {tokenizer.vocab_size - 1}"):
                use(bad)


def test_half_a_character_counts_as_its_bytes():
    """The last byte of "é" alone decodes to U+FFFD, three bytes of UTF-8, but stands for one."""
    tokenizer = ByteTokenizer()
    assert tokenizer.count_bytes(tokenizer.encode("é")[1:]) == 1


def test_unknown_characters_are_counted_and_the_first_is_named():
    tokenizer = CharTokenizer.train("abc")
    with pytest.raises(UserError, match=r"2 of 5 characters are unknown .* the first one 'X' at 1: expected "
                                        r"only the 3 characters"):
        tokenizer.encode("aXbYc")


def test_a_lone_surrogate_is_an_unknown_character_not_a_crash():
    """A command line with bytes that are not UTF-8 reaches Python as lone surrogates."""
    with pytest.raises(UserError, match=r"'\\udcff'"):
        CharTokenizer.train("abc").encode("a\udcff")
    assert ByteTokenizer().encode("\udcff").size == 3


def test_save_and_load(tmp_path):
    for spec in ("char", "byte", "bpe:260"):
        for end in (False, True):
            tokenizer = make_tokenizer(spec, TEXT * 2, end)
            (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer.to_json()), encoding="utf-8")
            again = make_tokenizer(str(tmp_path / "tokenizer.json"), "other text")
            assert np.array_equal(again.encode(TEXT), tokenizer.encode(TEXT))
            assert again.to_json() == tokenizer.to_json()
            assert (again.vocab_size, again.end) == (tokenizer.vocab_size, tokenizer.end)


def test_files_from_before_there_was_an_end_token_still_load(tmp_path):
    (tmp_path / "t.json").write_text('{"tokenizer": "byte"}')
    assert load_tokenizer(tmp_path / "t.json").vocab_size == 256
    (tmp_path / "t.json").write_text('{"tokenizer": "char", "characters": "ab"}')
    assert load_tokenizer(tmp_path / "t.json").vocab_size == 2


# ---- bpe

def test_the_size_of_bpe_counts_the_end_token():
    """bpe:260 is 256 bytes, three joins and the end. The pieces are "sea", " shells", "sea", " shore"."""
    tokenizer = make_tokenizer("bpe:260", ["sea shells", "sea shore"])
    assert tokenizer.vocab_size == 260 and list(tokenizer.vocabulary.ranks)[256:] == [b" s", b"ea", b"sea"]


def test_text_that_looks_like_the_end_token_is_text():
    ids = BPE.encode("a<|endoftext|>b")
    assert BPE.end not in ids and BPE.decode(ids) == "a<|endoftext|>b"


def test_a_character_split_over_tokens_streams_whole():
    """"🙃" is not in the corpus: its first bytes are those of "🙂", its last one is a token of its own."""
    ids = BPE.encode("é🙃").tolist()
    piece = BPE.decode_stream()
    assert len(ids) > 2 and [text for text in map(piece, ids) if text] == ["é", "🙃"]


def test_decoding_is_tiktokens():
    ids = BPE.encode(TEXT * 3)
    encoding = tiktoken.Encoding("test", pat_str="[a-z]+|.", mergeable_ranks=BPE.vocabulary.ranks,
                                 special_tokens={})
    assert encoding.decode(ids.tolist()) == BPE.decode(ids) == TEXT * 3


def test_bpe_reads_a_lone_surrogate_as_a_replacement_character_and_a_pair_as_its_character():
    assert BPE.decode(BPE.encode("a\udcff\ud83d\ude00")) == "a\ufffd😀"


def test_a_rank_file_is_a_tokenizer_with_an_end(tmp_path):
    write_ranks(tmp_path / "v.tiktoken", BPE.vocabulary.ranks)
    again = make_tokenizer(str(tmp_path / "v.tiktoken"), "other text")
    assert again.to_json() == BPE.to_json()


@pytest.mark.parametrize("size", ["abc", "", "100", "256", "-512", "5_12", "10000000", "٥١٢", "9" * 5000])
def test_a_size_that_is_none_is_one_line(size):
    with pytest.raises(UserError, match="expected a vocabulary size from 257 .* to 1,048,577, for instance "
                                        "bpe:512"):
        make_tokenizer(f"bpe:{size}", TEXT)


def damaged(**changes):
    return BPE.to_json() | changes


TOKENS = BPE.to_json()["ranks"]


@pytest.mark.parametrize("saved, message", [
    (damaged(pattern="("), "its pattern '\\('"),
    (damaged(pattern="(" * 1001 + ")" * 1001), "at most 2,000 characters"),
    (damaged(pattern="\ud800"), "does not compile"),
    (damaged(pattern=None), "expected kind"),
    (damaged(specials={"<|endoftext|>": 280}),
     "ids from 0 to 279, each of its own, beside those of 279 ranks"),
    (damaged(specials={"a": "b", "c": 279}), "ids from 0 to 280"),
    (damaged(specials={"a": 3, "c": 3}), "each of its own"), (damaged(specials={"a": -1}), "ids from 0"),
    (damaged(specials={"<|endoftext|>": 279.0}), "ids from 0"), (damaged(ranks={}), "expected kind"),
    (damaged(nfc=False), "expected kind"), (damaged(prefix_space=1), "expected kind"),
    (damaged(nfd=True), "expected kind"), (damaged(unused=True), "expected kind"),
    (damaged(unused=-1), "expected kind"),
    (damaged(ranks=TOKENS[1:]), "byte 0x00"),
    (damaged(ranks=[*TOKENS[:-1], 7]), "rank 278: 7 is no token"),
    (damaged(ranks=[*TOKENS[:-1], "é"]), "rank 278: 'é' is no token"),
    (damaged(ranks=[*TOKENS[:-1], TOKENS[0]]), "has rank 0 already"),
    (damaged(ranks=[*TOKENS[:-1], base64.b64encode(b"xyz").decode()]), "is no join of two"),
])
def test_a_damaged_bpe_file_is_one_line(saved, message, tmp_path):
    (tmp_path / "t.json").write_text(json.dumps(saved))
    with pytest.raises(UserError, match=message) as e:
        load_tokenizer(tmp_path / "t.json")
    assert "t.json" in str(e.value) and "\n" not in str(e.value)


@pytest.mark.parametrize("pattern", ["a*", "a", "[^b]+"])
def test_a_pattern_that_passes_over_text_is_one_line(pattern):
    """a* also matches the empty string, for which tiktoken alone panics."""
    with pytest.raises(UserError, match="passes over parts of the text"):
        BPETokenizer(BPE.vocabulary._replace(pattern=pattern)).encode("ab")


def test_a_foreign_pattern_that_fails_is_one_line():
    """GPT-2's look-ahead runs out of stack in two million spaces."""
    tokenizer = BPETokenizer(BPE.vocabulary._replace(pattern=GPT2_PATTERN))
    assert tokenizer.decode(tokenizer.encode("a   b" * 1000)) == "a   b" * 1000
    with pytest.raises(UserError, match="fails on a text of 2,000,001 characters .*a very long run of "
                                        "spaces"):
        tokenizer.encode(" " * 2_000_000 + "a")


def test_a_panic_is_one_line(monkeypatch):
    """Rust's panic comes as a BaseException of this name, whatever brings it about; Ctrl-C passes."""
    class PanicException(BaseException):
        pass

    class Encoding:
        def encode_to_numpy(self, text, **options):
            raise KeyboardInterrupt if text == "stop" else PanicException("index out of bounds")
    tokenizer = BPETokenizer(BPE.vocabulary)
    monkeypatch.setattr(tokenizer, "_tiktoken", Encoding())
    with pytest.raises(UserError, match="index out of bounds"):
        tokenizer.encode("a")
    with pytest.raises(KeyboardInterrupt):
        tokenizer.encode("stop")


# ---- mistakes


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"tokenizer": "char"}',
                                  '{"tokenizer": "char", "characters": ""}',
                                  '{"tokenizer": "char", "characters": "ba"}',
                                  '{"tokenizer": "char", "characters": "aa"}',
                                  '{"tokenizer": "char", "characters": ["a"]}', '{"tokenizer": "bpe"}',
                                  "[" * 100_000])
def test_a_damaged_tokenizer_file_is_one_line(text, tmp_path):
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(UserError, match="t.json"):
        load_tokenizer(tmp_path / "t.json")


def test_a_file_of_other_bytes_and_an_absent_one_are_one_line(tmp_path):
    (tmp_path / "t.json").write_bytes(b"{}\xff")
    with pytest.raises(UserError, match="is not JSON"):
        load_tokenizer(tmp_path / "t.json")
    with pytest.raises(UserError, match="expected char, byte, bpe:SIZE, or the path"):
        make_tokenizer("chars", TEXT)
