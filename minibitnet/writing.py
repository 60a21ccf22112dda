"""From drawn tokens to text, piece by piece; and conversations, in the template of BitNet b1.58 2B4T:

    <|begin_of_text|>System: {system message}<|eot_id|>
    User: {first message}<|eot_id|>
    Assistant: {its answer}<|eot_id|>
    User: ...                                                              [2b4t] section 3.2.2

What stands in <| |> is a token each; the text between two of them, with the line break before it, is
tokenized as one. The model answers after "Assistant:". (The code that was published with the model,
gpu/tokenizer.py of microsoft/BitNet, puts no line break there; here it is as the report prints it.)
"""
import secrets
from collections.abc import Iterator
from functools import partial
from numbers import Integral
from typing import Any

from .errors import UserError, brief
from .inference.sampling import check_sampling, decode
from .threads import one_blas_thread

BEGIN, END_OF_TURN = "<|begin_of_text|>", "<|eot_id|>"
SYSTEM, USER, ASSISTANT = "System: ", "User: ", "Assistant:"


def drawing(engine, tokens, *, temperature=0.8, top_k=0, top_p=1.0, seed=0, turn=0):
    """``sampling.decode`` with these settings, which are checked now: a function of the ids of a prompt. seed
    None: another one at every call; turn: of a conversation, each of which draws otherwise."""
    seed = secrets.randbits(62) if seed is None else seed
    check_sampling(temperature, top_k, top_p, seed)
    if not (isinstance(tokens, Integral) and tokens >= 1):
        raise UserError(f"tokens = {tokens!r}: expected a count, at least 1")
    return partial(decode, engine, tokens=tokens, temperature=temperature, top_k=top_k, top_p=top_p,
                   seed=seed + turn)


def written(drawn, tokenizer, ends, stop="") -> Iterator[str]:
    """Yield the text of drawn ids, up to one of ``ends`` or to the text ``stop``."""
    text_of, held = tokenizer.decode_stream(), ""
    while True:
        with one_blas_thread:                              # for one token; what follows is not ours
            i = next(drawn, None)
        if i is None or i in ends:
            break
        held += text_of(i)
        if stop and stop in held:
            yield held[:held.index(stop)]
            return
        # perhaps the beginning of stop
        open_end = max((n for n in range(1, len(stop)) if held.endswith(stop[:n])), default=0)
        yield held[:len(held) - open_end]
        held = held[len(held) - open_end:]
    if held:
        yield held


class TooLong(UserError):
    """A message that a conversation has no room for."""


class Chat:
    """A conversation with a model that was trained to have one. ``ids``: all of it so far, token by token.

    model: a LanguageModel whose tokenizer has <|eot_id|>; system: what it is told before the conversation
    begins, or "". When the context is full, its newest half is kept, without the system message then. With
    one seed, the same conversation gets the same answers, but a message that is said again another one."""

    def __init__(self, model: Any, system: str = "") -> None:
        specials = getattr(getattr(model.tokenizer, "vocabulary", None), "specials", {})
        if END_OF_TURN not in specials:
            raise UserError(f"this model's tokenizer has no token {END_OF_TURN}: expected a model that was "
                            "trained on conversations")
        self.model, self.end = model, specials[END_OF_TURN]
        self.ids = [specials[BEGIN]] if BEGIN in specials else []
        self.caches, self.turns = model.new_caches(), 0
        if _text(system):
            self.ids += self.short(self.turn(SYSTEM + system.strip()))

    def turn(self, text):
        """The ids of a turn behind the others, with the token that ends it."""
        follows = self.ids[-1:] == [self.end]
        return [*self.model.tokenizer.encode("\n" * follows + text).tolist(), self.end]

    def short(self, ids):
        """These ids; UserError where they would not be whole in what is kept of a full context."""
        if len(ids) > (most := self.model.config.context // 2):
            raise TooLong(f"a message of {len(ids):,} tokens: expected at most half the context, {most:,}")
        return ids

    def say(self, text: str, tokens: int = 500, **sampling: Any) -> Iterator[str]:
        """Yield the answer to a message piece by piece, of at most ``tokens`` tokens; keywords as in
        ``LanguageModel.stream``. What it was told before is not read again."""
        if not _text(text).strip():
            raise UserError("an empty message: expected text")
        decode_from = drawing(self.model.engine, tokens, turn=self.turns, **sampling)
        answer = self.model.tokenizer.encode("\n" + ASSISTANT).tolist()
        self.ids += self.short(self.turn(USER + text.strip()) + answer)
        self.turns += 1
        self.make_room()
        drawn = decode_from(tuple(self.ids), caches=self.caches)
        pieces = written(self.kept(drawn), self.model.tokenizer, {self.end, *self.model.ends})
        try:
            yield next(pieces, "").removeprefix(" ")
            yield from pieces
        finally:                                 # it ran out of tokens, or nobody heard it out
            self.ids += [self.end] * (self.ids[-1] != self.end)

    def kept(self, drawn):
        """What is drawn, and it belongs to the conversation."""
        for i in drawn:
            self.ids.append(i)
            yield i

    def make_room(self):
        """Forget the older half where the context is full. (While an answer filled it, the caches' window
        has moved: they are not those of ``ids`` any more.)"""
        context = self.model.config.context
        if len(self.ids) >= context:
            self.ids = self.ids[-(context // 2):]
            for cache in self.caches:
                cache.length = 0


def _text(text):
    if not isinstance(text, str):
        raise UserError(f"{brief(text)}: expected a text")
    return text
