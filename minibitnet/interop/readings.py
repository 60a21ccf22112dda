"""Would a model predict better if it were read in another way?

What a wrong conversion does to a model no file shows: its weights look like weights, its logits are wrong,
and there is no error. But each of the usual ones can be undone. So the model is run as it is read, and again
with each of READINGS, on the same text; where one of them predicts that text clearly better, and better than
a table of how often each token comes, the file was made in that other way.

    the model predicts    a reading predicts better    verdict
    yes                   no                           sound
    yes or no             yes                          the fault that the reading undoes
    no                    no                           "predicts nothing"
"""
import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ..errors import NonFiniteError, UserError
from ..exact_functions import perplexity
from ..float16 import widen
from ..formats.packed import PackedMatrix
from ..inference.packed_engine import PackedModel
from ..inference.scoring import surprisal
from ..language_model import FloatEngine
from ..nn.model import Transformer
from ..packing import pack_ternary, unpack_ternary
from ..text.corpora import WITH_GRAMMAR, load_corpus, texts
from .soundness import Finding, entropy

CLEARLY = 0.01, 3.0      # nats a token, and standard errors: what "clearly better" is
SURELY = 0.3             # nats a token by which a reading beats the table: of a text that it hardly knows a
                         # model may predict a little better read in any way
TOKENS = 128, 2048       # at least, at most, that a model is scored on: a table of few tokens knows them all
WORK = 2**36             # parameters times tokens: a large model reads fewer
ROWS = 128               # texts, at most: of a very short context they are many
NOTHING = "predicts nothing"


class Reading(NamedTuple):
    """Another way to read a model. undo(c, get) -> (c, get): the configuration and the function from a
    projection's name to its matrix, both as they would be; None: the model has not what it changes."""
    fault: str
    undo: Callable


def inverse_scales(c, get):
    """1 / scale for every scale."""
    def undo(name):
        matrix = get(name)
        return matrix._replace(scale=np.float32(1) / matrix.scale)
    return (c, undo) if c.variant.has_codes else None


def other_activation(c, get):
    """SiLU for squared ReLU, and the other way round."""
    return replace(c, activation={"silu": "relu2", "relu2": "silu"}[c.activation]), get


def other_base(c, get):
    """The usual base of rotary angles, 10,000; of a model that has it, Llama 3's and 2B4T's."""
    return replace(c, rope_theta=500_000.0 if c.rope_theta == 10_000 else 10_000.0), get


def of_codes(change):
    """A reading that changes codes (n, m)."""
    def undo(c, get):
        return (c, lambda name: recoded(get(name), change)) if c.variant.has_codes else None
    return undo


def recoded(matrix, change):
    """A PackedMatrix with other codes."""
    codes = change(unpack_ternary(matrix.packed, matrix.n))
    return matrix._replace(packed=pack_ternary(np.ascontiguousarray(codes)))


def neighbours(codes):
    """Rows that shared a byte become neighbours."""
    n, m = codes.shape
    return codes if n % 4 else codes.reshape(4, n // 4, m).transpose(1, 0, 2).reshape(n, m)


def other_end_first(codes):
    """The four rows of a byte in the other order."""
    n, m = codes.shape
    return codes if n % 4 else codes.reshape(4, n // 4, m)[::-1].reshape(n, m)


def mapped(codes):
    """Codes that were read as the bits less one: 00 for 0, 01 for +1, 10 for -1."""
    return np.array([0, 1, -1], np.int8)[codes + 1]


def exchanged(c, get):
    """gate for up."""
    other = {"gate_proj": "up_proj", "up_proj": "gate_proj"}

    def exchange(name):
        parts = name.split(".")
        return get(".".join([*parts[:-2], other.get(parts[-2], parts[-2]), parts[-1]]))
    return c, exchange


def halved(c, get):
    """q and k with the pairs of a head, which rotary embeddings turn together, as halves."""
    def halves(rows):
        n, m = rows.shape
        return rows.reshape(n // c.head_dim, c.head_dim // 2, 2, m).transpose(0, 2, 1, 3).reshape(n, m)

    def undo(name):
        matrix = get(name)
        if not name.endswith(("q_proj.weight", "k_proj.weight")):
            return matrix
        return recoded(matrix, halves) if isinstance(matrix, PackedMatrix) else halves(matrix)
    return c, undo


READINGS = (Reading("scale convention", inverse_scales), Reading("activation", other_activation),
            Reading("row order", of_codes(neighbours)), Reading("bit order", of_codes(other_end_first)),
            Reading("code map", of_codes(mapped)), Reading("signs", of_codes(np.negative)),
            Reading("rotary order", halved), Reading("rotary base", other_base),
            Reading("gate and up", exchanged))


class Heard(NamedTuple):
    """What a model says of a text. tokens: how many were scored; loss, unigram: nats a token, of the model
    and of a table of the text's own tokens; readings: {fault: nats a token, read so}."""
    text: str
    tokens: int
    loss: float
    unigram: float
    readings: dict

    @property
    def predicts(self):
        """Is it better than the table?"""
        return self.loss < self.unigram


# ---- running

class Taken:
    """What an engine takes its matrices from: ``pop`` makes one."""

    def __init__(self, pop):
        self.pop = pop


def engine_of(source, reading=None, threads=1):
    """A Source, read anew, as it is or with a Reading -> an engine, or None where that is nothing to it."""
    c, float_model = source.c, not source.c.variant.has_codes
    get = (lambda name: source.arrays[name]) if float_model else source.matrices.__getitem__
    if reading is not None:
        if (found := reading.undo(c, get)) is None:
            return None
        c, get = found
    if not float_model:
        return PackedModel(c, Taken(get), source.arrays, threads)
    transformer = Transformer(c)
    for name, a in transformer.arrays().items():
        np.copyto(a, widen(get(name)))
    return FloatEngine(transformer)


def losses(engine, rows):
    """[(T + 1,) ids] -> nats of each token that has one before it; infinite where the model gives no
    numbers."""
    each = []
    for ids in rows:
        try:
            each.append(surprisal(engine(ids[None, :-1]), ids[None, 1:], engine.logit_scale)[0])
        except NonFiniteError:
            each.append(np.full(len(ids) - 1, math.inf))
    return np.concatenate(each)


def rows_of(texts, source, most):
    """Texts -> [(T + 1,) ids], at most a context each and about ``most`` tokens in all; UserError where the
    tokenizer does not know them."""
    rows, begin = [], [] if source.begin is None else [source.begin]
    for text in texts:
        ids = np.concatenate([begin, source.tokenizer.encode(text), source.ends[:1]]).astype(np.int64)
        ids = ids[:min(source.c.context, most) + 1]
        if len(ids) > 1:
            rows.append(ids)
            most -= len(ids) - 1
        if most < 1 or len(rows) == ROWS:
            break
    return rows


def unigram(rows):
    """Nats a token of a table that knows how often each comes in this very text."""
    return entropy(np.unique(np.concatenate([ids[1:] for ids in rows]), return_counts=True)[1])


def texts_of(name, source, sha256=None):
    """A corpus -> its documents, of which a model reads the beginnings; of one without, pieces of its end,
    which a run has not been trained on, of a context each. UserError where it has another sha256."""
    corpus = load_corpus(name)
    if sha256 and corpus.sha256 != sha256:
        raise UserError(f"{name} is another text than the model's own")
    if corpus.has_documents:
        return texts(corpus)
    end, n = corpus.text[-100_000:], source.c.context
    a_token = max(1, len(end) // max(1, len(source.tokenizer.encode(end))))      # characters, about
    return [end[i:i + a_token * n] for i in range(0, len(end), a_token * n)]


def hear(read, own=None, data=None, threads=1, report=lambda what: None):
    """read() -> a Source, anew at every call, for running uses it up. Of the texts that the model may know,
    its ``own``, stories and pets, or of ``data`` alone, the one on which it is best -> (Heard, Finding or
    None); UserError where its tokenizer knows none, and where its own is not there and it knows no other.
    report(what) is called before each run."""
    source = read()
    most = min(TOKENS[1], max(TOKENS[0], WORK // source.c.n_parameters))
    report("as it is")
    engine, known = engine_of(source, threads=threads), {}
    for name in dict.fromkeys([data] if data else filter(None, [own, *WITH_GRAMMAR])):
        try:
            sha256 = source.settings.get("corpus", {}).get("sha256") if name == own and not data else None
            rows = rows_of(texts_of(name, source, sha256), source, most)
            if (n := sum(len(ids) - 1 for ids in rows)) < TOKENS[0]:
                raise UserError(f"{name} has {n:,} tokens for this model: expected at least {TOKENS[0]}, to "
                                "judge it by")
        except UserError:
            if data:
                raise
            continue
        known[name] = rows, losses(engine, rows)
    if not known:
        raise UserError("the tokenizer knows neither stories nor pets, or little: expected a text that it "
                        "knows, to hear the model on (--data TEXT)")
    del engine
    name = min(known, key=lambda name: known[name][1].mean() - unigram(known[name][0]))
    rows, as_read = known[name]
    elsewhere = own and not data and own not in known
    found = {}
    for reading in READINGS:
        report(reading.fault)
        other = engine_of(read(), reading, threads)
        if other is not None:
            found[reading.fault] = losses(other, rows)
        del other
    heard = Heard(name, len(as_read), float(as_read.mean()), unigram(rows),
                  {fault: float(nats.mean()) for fault, nats in found.items()})
    finding = better(heard, as_read, found)
    if finding and elsewhere:
        raise UserError(f"it was trained on {own!r}, which is not there as it was, and predicts no other "
                        "text well: expected one of its own kind (--data TEXT)")
    return heard, finding


def better(heard, as_read, found):
    """The Finding of the reading that predicts best, where it is clearly better; or that nothing does."""
    fault = min(found, key=lambda fault: heard.readings[fault])
    loss = heard.readings[fault]
    if loss < min(heard.loss, heard.unigram - SURELY) and clearly(as_read - found[fault]):
        return Finding(fault, f"perplexity {perplexity(heard.loss):,.3g} as it is read, "
                              f"{perplexity(loss):,.3g} otherwise")
    if not heard.predicts:
        return Finding(NOTHING, f"perplexity {perplexity(heard.loss):,.3g} of {heard.text}, of a table of "
                                f"frequencies {perplexity(heard.unigram):,.3g}; is it a model of other "
                                "texts? (--data TEXT names one)")
    return None


def clearly(gains):
    """Nats that each token gains -> is that more than chance?"""
    if not np.isfinite(gains).all():             # the model as it is read gives no numbers
        return True
    mean, error = gains.mean(), gains.std() / len(gains)**0.5
    return mean > max(CLEARLY[0], CLEARLY[1] * error)
