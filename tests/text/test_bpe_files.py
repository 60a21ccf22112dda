import base64
import json
import random

import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.text import bpe_files
from minibitnet.text.bpe import PATTERN, encode_plain, join, train
from minibitnet.text.bpe_files import GPT2_PATTERN, from_huggingface, parse_ranks, read_file, write_ranks
from minibitnet.text.tokenizer import BPETokenizer, load_tokenizer

BYTES = [bytes([b]) for b in range(256)]
TEXT = "the sea, the shore and the shells; she sells the shells that she sees by the sea shore. " * 3
RANKS = train(TEXT, 280)


def lines_of(*tokens):
    """A rank file of the 256 bytes and these tokens."""
    return [b"%s %d" % (base64.b64encode(token), rank) for rank, token in enumerate([*BYTES, *tokens])]


def refused(lines, *words, end=b"\n"):
    """Reading these lines is a UserError of one line that has all the words."""
    with pytest.raises(UserError) as e:
        parse_ranks(end.join(lines), "v.tiktoken")
    for word in words:
        assert word in str(e.value)
    assert "\n" not in str(e.value)


# ---- rank files

def test_a_rank_file_is_a_line_of_base64_and_rank_for_each_token(tmp_path):
    """Byte 0 is AAAA without its last two bytes, "AA==", byte 255 is "/w==", "th" is "dGg="."""
    write_ranks(tmp_path / "v.tiktoken", {token: rank for rank, token in enumerate([*BYTES, b"th", b"the"])})
    lines = (tmp_path / "v.tiktoken").read_bytes().split(b"\n")
    assert lines[:2] == [b"AA== 0", b"AQ== 1"] and lines[255:] == [b"/w== 255", b"dGg= 256", b"dGhl 257", b""]


def test_reading_gives_back_what_was_written(tmp_path):
    write_ranks(tmp_path / "v.tiktoken", RANKS)
    assert parse_ranks(read_file(tmp_path / "v.tiktoken"), "v.tiktoken") == RANKS
    assert [p.name for p in tmp_path.iterdir()] == ["v.tiktoken"]


def test_bytes_may_have_any_rank_of_their_own():
    """In GPT-2's order the printable bytes come first."""
    ranks = parse_ranks(b"\n".join(b"%s %d" % (base64.b64encode(token), rank)
                                   for rank, token in enumerate([*reversed(BYTES), b"ab"])), "v")
    assert ranks[b"ab"] == 256 and ranks[b"\xff"] == 0


def test_line_ends_of_windows_and_a_byte_order_mark_are_accepted():
    assert parse_ranks(b"\xef\xbb\xbf" + b"\r\n".join(lines_of(b"th")), "v")[b"th"] == 256


def test_each_check_names_the_line():
    good = lines_of(b"th", b"the")
    parse_ranks(b"\n".join(good), "v.tiktoken")
    refused([], "v.tiktoken:1", "0 tokens end here and byte 0x00")
    refused(good[:100], "v.tiktoken:100", "byte 0x64 is none of them", "whole")
    # a rank twice
    refused(lines_of(b"th")[:-2] + lines_of()[:1], "expected a token in base64, one space and the rank 255")
    # a gap
    refused([*good[:9], *good[10:]], "v.tiktoken:10", "b'Cg== 10'", "the rank 9")
    refused([*good, b"eHg= %d" % 2**40], "v.tiktoken:259", "the rank 258")
    refused([*good, b"", b"eHg= 258"], "v.tiktoken:259", "b''")
    refused([*good, b"e!g= 258"], "v.tiktoken:259", "b'e!g=' is no token", "in base64")
    refused([*good, b"eHg 258"], "v.tiktoken:259", "b'eHg' is no token")
    refused([*good, b" 258"], "v.tiktoken:259", "b'' is no token: expected 1 to 1,024 bytes")
    refused([*good, base64.b64encode(b"x" * 1025) + b" 258"], "v.tiktoken:259",
            "is no token: expected 1 to 1,024 bytes")
    refused([*good, b"dGg= 258"], "v.tiktoken:259", "token b'th' has rank 256 already")
    refused([*good, b"AA== 258"], "token b'\\x00' has rank 0 already")
    refused(lines_of(b"the", b"th"), "v.tiktoken:257", "token b'the' is no join of two tokens of lower rank")
    refused([lines_of(b"th")[256].replace(b"256", b"0"), *(b"%s %d" % (base64.b64encode(token), rank)
                                                           for rank, token in enumerate(BYTES, 1))],
            "v.tiktoken:1", "token b'th' is no join")
    refused([b"In the beginning was the word"], "v.tiktoken:1", "b'In the beginning")


def test_a_huge_file_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(bpe_files, "MAX_FILE_BYTES", 1000)
    (tmp_path / "v.tiktoken").write_bytes(b"\n".join(lines_of()))
    with pytest.raises(UserError, match="has more than 1,000 bytes"):
        load_tokenizer(tmp_path / "v.tiktoken")
    monkeypatch.setattr(bpe_files, "MAX_RANKS", 300)
    refused(lines_of(*RANKS)[:301], "v.tiktoken:301", "301 tokens: expected at most 300")


def mutated(lines, rng):
    """Lines of a rank file with one or two things wrong, mostly."""
    lines = list(lines)
    for _ in range(rng.randint(1, 2)):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        token, _, rank = lines[i].partition(b" ")
        kind = rng.randrange(14)
        if kind == 0:
            del lines[i]
        elif kind == 1:
            lines.insert(j, lines[i])
        elif kind == 2:
            lines[i], lines[j] = lines[j], lines[i]
        elif kind == 3:
            del lines[i:i + rng.randint(1, len(lines))]
        elif kind == 4:
            lines[i] = token + b" " + rng.choice([b"-1", b"2.0", b"1e3", b"0x10", b"+1", b"1_0",
                                                  b"%d" % 2**32, b"%d" % 2**40, b"9" * 5000,
                                                  "٣".encode()])
        elif kind == 5:
            lines[i] = rng.choice([b"", b" ", b"====", b"A", b"\xff\xfe", b"\x00",
                                   b"AAAA" * 1000]) + b" " + rank
        elif kind == 6:
            lines[i] = base64.b64encode(rng.randbytes(rng.randint(1, 6))) + b" " + rank
        elif kind == 7:
            other = lines[j].partition(b" ")
            lines[i], lines[j] = other[0] + b" " + rank, token + b" " + other[2]
        elif kind == 8:
            lines[i] = rng.choice([b"", b"\r", b"\x00", token, token + b"  " + rank, token + b"\t" + rank,
                                   lines[i] + b" 7"])
        elif kind == 9:
            lines[i] = rng.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"{", b"#"]) + lines[i]
        elif kind == 10:
            lines[i] += b"\r"
        else:
            damaged = bytearray(lines[i] or b"?")
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            lines[i] = bytes(damaged)
    return lines


def test_5000_mutated_rank_files_give_one_line_each_or_still_work():
    """Never a panic. What is accepted is a vocabulary: it encodes every text, as the specification does,
    and decodes it."""
    rng, lines, text = random.Random(4), lines_of(*list(RANKS)[256:]), "the shells, né 你好 \x00🙂"
    accepted = 0
    for k in range(5000):
        data = b"\n".join(mutated(lines, rng))
        try:
            ranks = parse_ranks(data, "v.tiktoken")
        except UserError as e:
            assert "\n" not in str(e) and str(e).startswith("v.tiktoken:") and "expected" in str(e)
            assert len(str(e)) < 400
            continue
        tokenizer = BPETokenizer(bpe_files.with_end(ranks))
        ids = tokenizer.encode(text).tolist()
        assert ids == encode_plain(text, ranks) and tokenizer.decode(ids) == text
        accepted += 1
    assert 50 < accepted < 1000


# ---- Hugging Face

def added(i, text):
    """A special token, as the library writes it."""
    return {"id": i, "content": text, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": False}


def huggingface(ranks=RANKS, pre_tokenizer=None, **model):
    """A tokenizer.json as their library writes it, made from ranks."""
    char_of = {byte: char for char, byte in bpe_files._byte_alphabet().items()}
    written = {token: "".join(char_of[b] for b in token) for token in ranks}
    merges = [" ".join(written[part] for part in join(token, ranks, below=rank))
              for token, rank in ranks.items() if len(token) > 1]
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None,
            "post_processor": None, "decoder": {
                "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "added_tokens": [added(len(ranks), "<|endoftext|>")],
            "pre_tokenizer": pre_tokenizer or {"type": "ByteLevel", "add_prefix_space": False,
                                               "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "byte_fallback": False,
                      "merges": merges,
                      "vocab": {written[token]: rank for token, rank in ranks.items()}
                      | {"<|endoftext|>": len(ranks)}} | model}


def split_by(pattern, behavior="Isolated", invert=False):
    return {"type": "Sequence",
            "pretokenizers": [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior,
                               "invert": invert},
                                                  {"type": "ByteLevel", "add_prefix_space": False,
                                                   "trim_offsets": True, "use_regex": False}]}


def test_the_alphabet_of_bytes_is_gpt2s():
    """A space is written G with a dot, a line end C with one; "é" is its two bytes in Latin-1."""
    byte_of = bpe_files._byte_alphabet()
    assert [byte_of[c] for c in "aĠĊÃ©"] == [ord("a"), ord(" "), ord("\n"), 0xc3, 0xa9]
    assert sorted(byte_of.values()) == list(range(256))


def test_a_byte_level_vocabulary_converts_to_its_ranks():
    vocabulary = from_huggingface(huggingface(), "t.json")
    assert vocabulary == (RANKS, GPT2_PATTERN, {"<|endoftext|>": 280}, False, False, False, 0)


def shifted(saved, specials):
    """The file with special tokens that come first, as the library's trainer makes it."""
    n = len(specials)
    vocab = {text: i + n for text, i in saved["model"]["vocab"].items() if text != "<|endoftext|>"}
    saved["model"]["vocab"] = {text: i for i, text in enumerate(specials)} | vocab
    saved["added_tokens"] = [added(i, text) for i, text in enumerate(specials)]
    return saved


def test_special_tokens_may_come_first(tmp_path):
    """Two of them: each id is the rank and two; kept in a run's file and read again it is the same."""
    vocabulary = from_huggingface(shifted(huggingface(), ["<pad>", "</s>"]), "t.json")
    assert vocabulary.ranks == RANKS and vocabulary.specials == {"<pad>": 0, "</s>": 1}
    tokenizer, plain = BPETokenizer(vocabulary), BPETokenizer(from_huggingface(huggingface(), "t.json"))
    text = "the shells, né"
    assert np.array_equal(tokenizer.encode(text), plain.encode(text) + 2)
    assert tokenizer.decode(tokenizer.encode(text)) == text and tokenizer.end == 1
    assert tokenizer.decode([0, *tokenizer.encode("sea"), 1]) == "sea" and tokenizer.vocab_size == 282
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer.to_json()))
    assert load_tokenizer(tmp_path / "tokenizer.json").vocabulary == vocabulary
    assert tokenizer.to_json().keys() == plain.to_json().keys(), "nothing is said that is not so"
    scattered = shifted(huggingface(), ["<pad>"])
    scattered["added_tokens"].append(added(281, "<end>"))
    assert from_huggingface(scattered, "t.json").specials == {"<pad>": 0, "<end>": 281}


def test_a_space_in_front_and_composed_characters(tmp_path):
    """What ``add_prefix_space`` and the normal form C do to the text before it is cut."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    saved = huggingface(pre_tokenizer=byte_level) | {"normalizer": {"type": "NFC"}}
    tokenizer = BPETokenizer(from_huggingface(saved, "t.json"))
    plain = BPETokenizer(from_huggingface(huggingface(), "t.json"))
    for text in ("the sea", " the sea", "\nthe", "né", "", " "):
        spaced = text if text[:1] in ("", " ") else " " + text
        assert np.array_equal(tokenizer.encode(text), plain.encode(spaced))
    assert np.array_equal(tokenizer.encode("ne\u0301"), plain.encode(" n\u00e9"))
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer.to_json()))
    again = load_tokenizer(tmp_path / "tokenizer.json").vocabulary
    assert again == tokenizer.vocabulary and again.nfc and again.prefix_space


def test_the_library_encodes_alike():
    """tokenizers itself, where it is installed: special tokens first or last, a space in front, composed."""
    library = pytest.importorskip("tokenizers")
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    rng = random.Random(1)
    files = [huggingface(), shifted(huggingface(), ["<pad>", "</s>"]), huggingface(pre_tokenizer=byte_level),
             huggingface() | {"normalizer": {"type": "NFC"}}, huggingface(pre_tokenizer=split_by(PATTERN))]
    for saved in files:
        theirs = library.Tokenizer.from_str(json.dumps(saved))
        ours = BPETokenizer(from_huggingface(saved, "t.json"))
        for _ in range(200):
            text = "".join(rng.choice(["the", " sea", "shells", "\n", "  ", "né", "e\u0301", "你好", "7",
                                       "!?", "'s", "\t"]) for _ in range(rng.randint(1, 12)))
            assert theirs.encode(text, add_special_tokens=False).ids == ours.encode(text).tolist(), text


def test_a_converted_tokenizer_cuts_text_as_its_file_says(tmp_path):
    """ByteLevel means GPT-2's pattern, whose last space of several goes with the word; a Split brings its
    own."""
    (tmp_path / "gpt2.json").write_text(json.dumps(huggingface()))
    (tmp_path / "ours.json").write_text(json.dumps(huggingface(pre_tokenizer=split_by(PATTERN))))
    gpt2, ours = (load_tokenizer(tmp_path / name) for name in ("gpt2.json", "ours.json"))
    assert [gpt2.decode([i]) for i in gpt2.encode("a  sea")] == ["a", " ", " sea"]
    assert [ours.decode([i]) for i in ours.encode("a  sea")] == ["a", " ", " ", "s", "e", "a"]
    assert ours.encode(TEXT).tolist() == encode_plain(TEXT, RANKS) and gpt2.decode(gpt2.encode(TEXT)) == TEXT
    assert gpt2.end == 280 and gpt2.vocab_size == 281


def test_merges_may_be_pairs_and_split_may_keep_matches():
    saved = huggingface(pre_tokenizer=split_by(PATTERN, "Removed", True))
    saved["model"]["merges"] = [merge.split(" ") for merge in saved["model"]["merges"]]
    assert from_huggingface(saved, "t.json")[:2] == (RANKS, PATTERN)


def test_under_ignore_merges_a_token_needs_no_merge():
    """As Llama 3's " Viet" with Vietnamese accents: without the flag this is refused."""
    saved = huggingface(ignore_merges=True)
    saved["model"]["vocab"] |= {"Ġxyz": 280, "<|endoftext|>": 281}
    saved["added_tokens"][0]["id"] = 281
    vocabulary = from_huggingface(saved, "t.json")
    assert vocabulary.ranks[b" xyz"] == 280 and vocabulary.ignore_merges
    tokenizer = BPETokenizer(vocabulary)
    assert tokenizer.encode(" xyz").tolist() == [280] and tokenizer.encode(" xyzs").size == 5
    with pytest.raises(UserError, match="24 merges for 25 tokens"):
        from_huggingface(saved | {"model": saved["model"] | {"ignore_merges": False}}, "t.json")


def test_what_is_not_byte_level_bpe_is_one_line():
    def refused(*words, drop=(), **changes):
        saved = huggingface() | {key: value for key, value in changes.items() if key != "model"}
        saved["model"] |= changes.get("model", {})
        for key in drop:
            saved.pop(key)
        with pytest.raises(UserError) as e:
            from_huggingface(saved, "t.json")
        assert str(e.value).startswith("t.json") and "\n" not in str(e.value)
        for word in words:
            assert word in str(e.value)

    vocab, merges = huggingface()["model"]["vocab"], huggingface()["model"]["merges"]
    refused("type 'Unigram'", "expected BPE over bytes", model={"type": "Unigram", "vocab": [["a", -1.0]]})
    refused("byte_fallback = true", "SentencePiece", model={"byte_fallback": True})
    refused("end_of_word_suffix", model={"end_of_word_suffix": "</w>"})
    refused('normalizer = {"type": "NFKC"}', normalizer={"type": "NFKC"})
    refused("pre_tokenizer is {\"type\": \"Metaspace\"}", pre_tokenizer={"type": "Metaspace"})
    spaced = split_by("a")
    spaced["pretokenizers"][1]["add_prefix_space"] = True
    refused("pre_tokenizer", "add_prefix_space", pre_tokenizer=spaced)
    refused("pre_tokenizer", pre_tokenizer=split_by("a", "Removed"))
    refused("not a byte-level BPE", "KeyError", drop=["model"])
    refused("not a byte-level BPE", "KeyError: KeyError('pre_tokenizer')", drop=["pre_tokenizer"])
    refused("not a byte-level BPE", "KeyError('▁')", model={"vocab": {"▁the": 0}})
    refused("not a byte-level BPE", model={"vocab": ["a"]})
    refused("not a byte-level BPE", model={"merges": ["a b c"]})
    refused("not a byte-level BPE", model={"merges": ["x y"]})
    refused("not a byte-level BPE", added_tokens=[7])
    refused("byte 0x00 is none of them", model={"vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]})
    refused("ids of its 280 tokens and 1 special (added) ones are not 0 to 280",
            model={"vocab": {text: i + 1 for text, i in vocab.items()}})
    refused("merge 2 makes id 256 after id 257", "rise",
            model={"merges": [merges[1], merges[0], *merges[2:]]})
    refused("merge 2 makes id 256 after id 256", model={"merges": [merges[0], *merges]})
    refused("23 merges for 24 tokens", model={"merges": merges[:-1]})
    refused("added tokens ['  '] are not special",
            added_tokens=[{"id": 280, "content": "  ", "special": False}])
    refused("special (added) ones", "0 to 280", added_tokens=[{"id": 282, "content": "<|endoftext|>"}])


def test_a_merge_that_earlier_ones_prevent_is_refused():
    """With "h e" before "t h", no text ever has "th" beside "e": "th e" is of another training, "t he" is
    right."""
    saved = huggingface({token: rank for rank, token in enumerate([*BYTES, b"he", b"th", b"the"])})
    assert saved["model"]["merges"] == ["h e", "t h", "t he"]
    saved["model"]["merges"][2] = "th e"
    with pytest.raises(UserError, match="the merge of b'th' and b'e' can never happen"):
        from_huggingface(saved, "t.json")
