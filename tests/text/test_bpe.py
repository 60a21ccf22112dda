import random
import re
import sys
import time
from collections import Counter
from itertools import zip_longest

import pytest
import tiktoken

from minibitnet.errors import UserError
from minibitnet.formats.rundir import tokenizer_sha256
from minibitnet.measure import results
from minibitnet.text import bpe
from minibitnet.text.bpe import (EARLIER_PATTERN, PATTERN, characters_of, encode_plain, join, pattern_of,
                                 train)
from minibitnet.text.bpe_files import with_end
from minibitnet.text.corpora import load_corpus, texts
from minibitnet.text.tokenizer import BPETokenizer, make_tokenizer

BYTES = {bytes([b]): b for b in range(256)}
WORDS = "she sells sea shells on the sea shore; the shells that she sells are sea shells, I'm sure. " * 3


def new_tokens(text, n):
    """The first n tokens that training on this text adds to the bytes."""
    return list(train(text, 256 + n))[256:]


def random_text(rng, longest=40):
    """Characters of everywhere: ASCII, white space and control characters, letters, CJK, emoji, any code
    point, lone surrogates."""
    kinds = ("abehnrst' ", "aA z.,'-019\"", "\x00\t\n\r\x0b\x1c\x7f\x85\xa0 ", "éßжяאबा", "你好、。「龍",
             "🙂👩\u200d🚀\ufe0f", "\ud83d\ude00\udc80\ud800",
             "\u2014\u2019\u2028\u3000\ufeff\ufffd")
    kind = rng.choice(kinds)
    out = []
    for _ in range(rng.randint(0, longest)):
        if rng.random() < 0.2:
            kind = rng.choice(kinds)
        out.append(chr(rng.randrange(0x110000)) if rng.random() < 0.1 else rng.choice(kind))
    return "".join(out)


# ---- training

def test_the_most_frequent_pair_becomes_a_token_and_then_the_next():
    """In "hum hum hum hums" (pieces "hum", " hum" twice, " hums") "hu" and "um" occur 4 times each: "hu",
    whose left byte is lower. Then "hu"+"m" 4 times; then " "+"hum" 3 times; then no pair is there twice."""
    assert new_tokens("hum hum hum hums", 3) == [b"hu", b"hum", b" hum"]
    with pytest.raises(UserError, match="no pair of tokens twice after 259 of 260 ranks: expected more "
                                        "text, or a vocabulary of at most 260"):
        new_tokens("hum hum hum hums", 4)


def test_of_equally_frequent_pairs_the_older_left_token_and_then_the_older_right_token_is_first():
    """Each of these pairs is there twice."""
    assert new_tokens("zz,zz,", 1) == [b"zz"]              # pieces "zz" and ","
    assert new_tokens("bc ad ae bc ad ae", 3)[0] == b" a"  # four times: frequency comes first
    assert new_tokens("bd\nbc\nad\nbd\nbc\nad", 3) == [b"ad", b"bc", b"bd"]


def test_overlapping_pairs_are_counted_and_replaced_from_the_left():
    """"aaaaa" has "aa" in 4 places; from the left it becomes aa aa a."""
    assert new_tokens("aaaaa\nbcbcbcb\n", 1) == [b"aa"]
    assert join(b"aaaaa", BYTES | {b"aa": 256}) == [b"aa", b"aa", b"a"]


def test_tokens_do_not_cross_from_one_piece_into_the_next():
    assert set(new_tokens("a,b,c,a,b,c,ab,ab", 1)) == {b"ab"}


def naive_train(text, n_ranks):
    """As the module's docstring says it: count everything anew for every token."""
    pieces = [[bytes([b]) for b in piece.encode()] for piece in re.findall(PATTERN, text)]
    ranks = dict(BYTES)
    while len(ranks) < n_ranks:
        counts = Counter(pair for piece in pieces for pair in zip(piece, piece[1:]))
        best = min(counts, key=lambda pair: (-counts[pair], ranks[pair[0]], ranks[pair[1]]))
        token = b"".join(best)
        ranks[token] = len(ranks)
        for piece in pieces:
            i = 0
            while i < len(piece) - 1:
                if (piece[i], piece[i + 1]) == best:
                    piece[i:i + 2] = [token]
                i += 1
    return ranks, pieces


def random_corpora(n):
    rng = random.Random(1)
    for _ in range(n):
        alphabet = rng.choice(["ab", "aab", "abc ", "ab cé\n", "a你 b"])
        yield "".join(rng.choice(alphabet) for _ in range(rng.randint(60, 200)))


def test_incremental_counts_give_the_ranks_of_counting_everything_anew():
    for text in random_corpora(60):
        try:
            ranks = train(text, 280)
        except UserError as e:
            ranks = train(text, int(re.search(r"after (\d+)", str(e))[1]))
        assert ranks == naive_train(text, len(ranks))[0]


def test_that_comparison_sees_a_wrong_tie_break(monkeypatch):
    monkeypatch.setattr(bpe, "_most_frequent",
                        lambda queue, pairs: max(pairs, key=lambda pair: (pairs[pair], pair)))
    with pytest.raises(AssertionError):
        test_incremental_counts_give_the_ranks_of_counting_everything_anew()


def test_encoding_the_corpus_again_gives_what_training_left_of_it():
    for text in random_corpora(30):
        ranks, pieces = naive_train(text, 266)
        assert encode_plain(text, ranks) == [ranks[token] for piece in pieces for token in piece]


def test_every_token_is_the_join_of_two_of_lower_rank():
    ranks = train(WORDS, 280)
    assert list(ranks.values()) == list(range(280))
    assert all(len(join(t, ranks, below=r)) == 2 for t, r in ranks.items() if len(t) > 1)


def seconds(text):
    """CPU seconds of learning 255 tokens."""
    began = time.process_time()
    train(text, 511)
    return time.process_time() - began


def test_text_without_spaces_takes_a_few_times_as_long_as_words():
    """One piece of 400 kB, and lines of Chinese of all lengths, beside English: 2 to 4 times on a quiet
    machine, where joining within whole pieces took 60 to 150. By turns, for a busy one."""
    rng, words = random.Random(5), load_corpus("pydoc").text[:400_000]
    genes = "".join(rng.choice("ACGT") for _ in range(len(words)))
    chinese = "".join(rng.choice("的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年")
                      + "\n" * (rng.random() < 0.01) for _ in range(len(words) // 3))
    least = [min(times) for times in zip(*([*map(seconds, (words, genes, chinese))] for _ in range(5)))]
    assert max(least[1:]) < 8 * least[0], least


def test_the_stories_have_the_tokenizer_of_every_release():
    """bpe:512 of the tiny run, whose sha256 data/results/exact.json has."""
    tiny = results.load("exact")["result"]["tiny"]["settings"]
    corpus = load_corpus("stories")
    tokenizer = make_tokenizer(tiny["train"]["tokenizer"], texts(corpus), with_end=True)
    assert tokenizer_sha256(tokenizer) == tiny["corpus"]["tokenizer_sha256"]


def test_a_corpus_may_come_in_chunks():
    assert train(iter(["she sees", " sea shells", " sea shore"]),
                 260) == train("she sees sea shells sea shore", 260)


# ---- pieces

def test_words_keep_the_space_or_apostrophe_before_them():
    pieces = re.findall(PATTERN, "I don't owe  $12345.67 (né Zoë)\n\n 你好、世界!")
    assert pieces == ["I", " don", "'t", " owe", "  ", "$", "123", "45", ".", "67", " (", "né", " Zoë", ")",
                      "\n\n ", "你好", "、", "世界", "!"]


def test_full_width_punctuation_is_no_letter():
    """So no token runs across a comma, whatever it is made of."""
    pieces = re.findall(PATTERN, "你好，世界！（Ａ１：ｂ）")
    assert pieces == ["你好", "，", "世界", "！（", "Ａ１", "：", "ｂ", "）"]
    learnt = [token.decode(errors="replace") for token in list(train("你好，世界。" * 9, 270))[256:]]
    assert "你好" in learnt and not any("，" in token and token != "，" for token in learnt), learnt


def test_a_vocabulary_of_ascii_keeps_the_earlier_pattern_and_encodes_alike_under_both():
    """The bytes of the stories' tokenizer.json are those of every release."""
    ascii_only, rng = train(WORDS + " 'tis (so) -- 100" * 2, 290), random.Random(4)
    assert pattern_of(ascii_only) == with_end(ascii_only).pattern == EARLIER_PATTERN != PATTERN
    assert pattern_of(RANKS) == PATTERN
    one, other = (BPETokenizer(with_end(ascii_only)._replace(pattern=p)) for p in (PATTERN, EARLIER_PATTERN))
    for _ in range(2000):
        text = "".join(rng.choice("，！（ａ' .,sh 1\nel你é") for _ in range(rng.randint(1, 30)))
        assert one.encode(text).tolist() == other.encode(text).tolist(), text


def test_every_character_begins_a_piece_and_ends_one():
    """All code points but surrogates, and each after a letter, a digit, a mark and a space: nothing is
    lost."""
    everything = "".join(chr(c) for c in range(sys.maxunicode + 1) if not 0xd800 <= c < 0xe000)
    for before in ("", "a", "1", "!", " "):
        text = before.join(everything[:70_000])
        assert "".join(re.findall(PATTERN, text)) == text
    assert "".join(re.findall(PATTERN, everything)) == everything


def split_by_tiktoken(text):
    """tiktoken's pieces: in a vocabulary where each piece has an id, it encodes to that."""
    pieces = {piece.encode(): 256 + i for i, piece in enumerate(dict.fromkeys(re.findall(PATTERN, text)))
              if len(piece.encode()) > 1}
    encoding = tiktoken.Encoding("pieces", pat_str=PATTERN, mergeable_ranks=BYTES | pieces, special_tokens={})
    return [encoding.decode_bytes([i]).decode(errors="replace") for i in encoding.encode_ordinary(text)]


def cut_differently():
    """The first piece that Python and tiktoken cut differently, or None, over all code points, one by one
    between separators of each kind, and over 2,000 random strings, in one. A function, as pytest would draw
    a diff of 600,000 pieces on CI: hours."""
    everything = [chr(c) for c in range(0x30000) if not 0xd800 <= c < 0xe000] + ["\U000e0001", "\U0010ffff"]
    rng = random.Random(2)
    for text in ("a ".join(everything), "1!".join(everything),
                 "".join(characters_of(random_text(rng)) for _ in range(2000))):
        for pair in zip_longest(split_by_tiktoken(text), re.findall(PATTERN, text)):
            if pair[0] != pair[1]:
                return pair
    return None


def test_python_and_tiktoken_cut_text_into_the_same_pieces():
    assert cut_differently() is None


def test_that_comparison_sees_another_pattern(monkeypatch):
    """With \\w instead of ranges the two disagree: tiktoken's Unicode tables are of another version than
    Python's, and the joiner U+200D is a word character to one of the two only."""
    monkeypatch.setitem(globals(), "PATTERN", r"\w+|[^\w]+")
    assert cut_differently() is not None


# ---- encoding

RANKS = train(WORDS + "你好你好 你好、 🙂🙂 🙂🙂 éé éé \n\n\n\n \t\t \t\t 100 100", 301)


def test_the_lowest_rank_is_joined_first():
    """"the" with the tokens "he" (256), "th" (257), "the" (258): t he, then the. Without "the", t he
    remains, not th e."""
    assert encode_plain("the", BYTES | {b"he": 256, b"th": 257, b"the": 258}) == [258]
    assert encode_plain("the", BYTES | {b"he": 256, b"th": 257}) == [ord("t"), 256]


def test_a_piece_that_is_a_token_is_that_token_even_if_no_join_makes_it():
    """As in Llama 3's vocabulary: " Viet" whole, though it has no " Vie" and no "iet". tiktoken does the
    same."""
    ranks = BYTES | {b" V": 256, b"ie": 257, b" Viet": 258}
    encoding = tiktoken.Encoding("whole", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    for text, ids in ((" Viet", [258]), (" Viets", [256, 257, ord("t"), ord("s")])):
        assert encode_plain(text, ranks) == encoding.encode_ordinary(text) == ids


def mismatches(ranks, seed, n):
    """How many of n random strings the plain encoder, tiktoken and decode(encode) do not agree on."""
    tokenizer, rng, wrong = BPETokenizer(with_end(RANKS)), random.Random(seed), 0
    for _ in range(n):
        text = random_text(rng)
        ids = tokenizer.encode(text).tolist()
        wrong += not (ids == encode_plain(text, ranks) and tokenizer.decode(ids) == characters_of(text)
                      and tokenizer.count_bytes(ids) == len(characters_of(text).encode()))
    return wrong


def test_plain_encoder_and_tiktoken_agree_on_10000_random_strings_and_decode_inverts_both():
    assert mismatches(RANKS, seed=3, n=10_000) == 0


def test_that_comparison_sees_one_token_too_many():
    assert mismatches(RANKS | {b" h": 301}, seed=3, n=1000) > 0


def test_a_run_of_two_million_spaces_is_no_trouble():
    """A pattern with look-ahead, like GPT-2's, makes tiktoken panic here."""
    text = " " * 2_000_000 + "a"
    tokenizer = BPETokenizer(with_end(BYTES | {b"  ": 256}))
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_marker_inside_a_line_is_text():
    """Versions of tiktoken before 0.11 lose it."""
    text = "a <|endoftext|> b"
    assert BPETokenizer(with_end(RANKS)).encode(text).tolist() == encode_plain(text, RANKS)


def test_surrogates_are_joined_in_pairs_and_replaced_alone():
    assert characters_of("a\ud83d\ude00b\udc80\ud800c\ud800") == "a😀b\ufffd\ufffdc\ufffd"
    assert train("a\udc80 a\udc80 a\udc80", 257) == train("a\ufffd a\ufffd a\ufffd", 257)
    assert bpe.characters_of("né 🙂") == "né 🙂"
