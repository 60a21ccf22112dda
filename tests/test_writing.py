"""Conversations: the template, token by token, and what a second message does not read again."""
import numpy as np
import pytest

import minibitnet
from minibitnet import generate
from minibitnet.errors import UserError
from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.text.bpe import pattern_of
from minibitnet.text.bpe_files import Vocabulary
from minibitnet.text.tokenizer import BPETokenizer

RANKS = {bytes([b]): b for b in range(256)}
TOKENIZER = BPETokenizer(Vocabulary(RANKS, pattern_of(RANKS), {"<|begin_of_text|>": 256, "<|eot_id|>": 257}))
BEGIN, END = 256, 257


def model_of(context=200, tokenizer=TOKENIZER):
    c = ModelConfig(vocab_size=tokenizer.vocab_size, d_model=16, n_heads=2, d_ffn=24, n_layers=2,
                    context=context)
    corpus = {"documents": True, "begin": None, "ends": []}
    return LanguageModel(FloatEngine(Transformer(c)), tokenizer, {"corpus": corpus})


def ids_of(text):
    """The template of the report, written out: its two tokens, and bytes."""
    parts = text.replace("<|begin_of_text|>", "\0B\0").replace("<|eot_id|>", "\0E\0").split("\0")
    special = {"B": [BEGIN], "E": [END]}
    return [i for part in parts for i in special.get(part, part.encode())]


def test_the_template_is_the_report_s():
    chat = model_of().chat("Be brief. ")
    "".join(chat.say(" Who are you?\n", 5, temperature=0))
    begun = ids_of("<|begin_of_text|>System: Be brief.<|eot_id|>\nUser: Who are you?<|eot_id|>\nAssistant:")
    assert chat.ids[:len(begun)] == begun
    assert chat.ids[-1] == END and 1 <= len(chat.ids) - len(begun) <= 6
    before = list(chat.ids)
    "".join(chat.say("And?", 5, temperature=0))
    assert chat.ids[:len(before)] == before
    assert chat.ids[len(before):][:len("\nUser: And?") + 1] == [*b"\nUser: And?", END]


def test_without_a_system_message_the_user_begins():
    chat = model_of().chat()
    "".join(chat.say("Hi", 3))
    assert chat.ids[:9] == ids_of("<|begin_of_text|>User: Hi")


@pytest.mark.parametrize("engine", ["float", "packed", "integer"])
def test_the_second_answer_is_that_of_the_whole_conversation_read_anew(engine):
    """The caches hold what was said; the numbers are the same."""
    model = model_of() if engine == "float" else model_of().pack(engine)
    chat = model.chat("Count.")
    read = []
    call = model.engine.__class__.__call__

    def counted(self, ids, *rest, **options):
        read.append(ids.shape[1])
        return call(self, ids, *rest, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.engine.__class__, "__call__", counted)
        "".join(chat.say("one", 6, seed=1))
        told = len(chat.ids)
        read.clear()
        second = "".join(chat.say("two", 6, seed=2))
    begun = ids_of("<|eot_id|>\nUser: two<|eot_id|>\nAssistant:")
    assert read[0] in (len(begun), len(begun) + 1), "the last token of the answer and what follows it"
    other = model.chat()
    other.ids, other.turns = chat.ids[:told], 1
    assert "".join(other.say("two", 6, seed=2)) == second and other.ids == chat.ids


def test_a_full_context_forgets_its_older_half():
    chat = model_of(context=64).chat("A system message.")
    for i in range(12):
        assert len("".join(chat.say(f"message {i}", 9, seed=i)).encode()) <= 3 * 9
        assert len(chat.ids) <= 64 + 12 and chat.ids[-1] == END
    assert BEGIN not in chat.ids


def test_an_answer_that_nobody_hears_out_is_ended():
    chat = model_of().chat()
    for _ in chat.say("Hi", 50, seed=3):
        break
    assert chat.ids[-1] == END
    list(chat.say("Hello?", 4, seed=3))
    assert chat.ids.count(END) == 4


class Scripted:
    """An engine that says these ids, one after another."""

    def __init__(self, engine, ids):
        self.config, self.new_caches, self.ids = engine.config, engine.new_caches, iter(ids)

    def __call__(self, ids, caches, last):
        caches[0].length += ids.shape[1]
        return np.eye(self.config.vocab_size, dtype=np.float32)[next(self.ids)][:, None, None]


def test_an_answer_ends_where_the_turn_ends():
    """Without the space that the template has before it."""
    model = model_of()
    model.engine = Scripted(model.engine, [*b" Yes.", END, *b" No."])
    chat = model.chat()
    assert "".join(chat.say("Hi", 50, temperature=0)) == "Yes."
    assert chat.ids == ids_of("<|begin_of_text|>User: Hi<|eot_id|>\nAssistant: Yes.<|eot_id|>")
    assert "".join(chat.say("Sure?", 3, temperature=0)) == "No", "three tokens, a space among them"
    assert chat.ids[-4:] == [*b" No", END]


def test_a_message_that_is_refused_is_not_said():
    chat = model_of(context=100).chat("Count.")
    before = list(chat.ids)
    for text, settings, message in (("Hi", {"tokens": 0}, "tokens = 0"), ("Hi", {"seed": -9}, "seed = "),
                                    ("Hi", {"temperature": -1}, "temperature = "),
                                    ("x" * 60, {}, "a message of 7. tokens: expected at most half")):
        with pytest.raises(UserError, match=message):
            list(chat.say(text, **settings))
        assert chat.ids == before
    with pytest.raises(UserError, match="a message of .* tokens: expected at most half the context, 50"):
        model_of(context=100).chat("long " * 20)


def test_a_wrong_setting_ends_a_conversation_that_is_typed_and_a_long_line_does_not(monkeypatch, capsys):
    monkeypatch.setattr(generate, "open_model", lambda *_, **__: model_of(context=100))
    monkeypatch.setattr(generate, "messages", lambda: iter(["x" * 60, "Hi"]))
    with pytest.raises(UserError, match="temperature = -1"):
        generate.main(["--model", "m", "--chat", "--temperature", "-1"])
    assert generate.main(["--model", "m", "--chat", "--tokens", "3"]) == 0
    assert "error: a message of" in capsys.readouterr().err


def test_what_is_said_again_is_answered_anew():
    """And a conversation that is had again, in the same way."""
    answers = [["".join(chat.say("Hi", 20, seed=1)) for _ in range(3)] for chat in (model_of().chat(),
                                                                                  model_of().chat())]
    assert answers[0] == answers[1] and len(set(answers[0])) == 3


@pytest.mark.parametrize("call, message", [
    (lambda: minibitnet.load("storyteller", "packed").chat(), r"has no token <\|eot_id\|>: expected"),
    (lambda: list(model_of().chat().say("  ")), "an empty message"),
    (lambda: list(model_of().chat().say(7)), "7: expected a text"),
    (lambda: model_of().chat(None), "None: expected a text"),
    (lambda: list(model_of().chat().say("Hi", 0)), "tokens = 0: expected a count"),
    (lambda: list(model_of().chat().say("Hi", temperature=-1)), "temperature = -1")])
def test_a_mistake_is_one_line(call, message):
    with pytest.raises(UserError, match=message):
        call()
