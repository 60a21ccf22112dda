"""Which text a trained model is scored on, what it has not seen of its own corpus or all of another, and
the least that any model needs for it."""
import math

from ..errors import UserError
from ..stories import entropy
from ..text.batches import part_of, parts, repeated
from ..text.corpora import load_corpus
from ..text.streams import documents_of, token_stream


def text_to_score(model, data=None, split=None, report=lambda n: None, context=None,
                  hint="if the text is elsewhere now, name it with --data"):
    """A LanguageModel, a corpus (by default its own) and "validation", "train", "all" or None (of the own
    corpus validation, of another all) -> (Corpus, split's name, Part to score, the training Part or None
    where another text is not split); context: of the windows, by default the model's; hint: what to do where
    its own is gone."""
    trained_on, context = model.settings["corpus"], context or model.config.context
    if not data and not model.settings["train"]:
        raise UserError("nothing says on which text this model was trained: expected one, --data TEXT")
    try:
        corpus = load_corpus(data or model.settings["train"]["data"])
    except UserError as e:
        raise e if data else UserError(f"{e}. The model was trained on it; {hint}") from None
    if split in ("validation", "train") and not model.settings["train"]:
        raise UserError(f"split {split!r} of a model that no run here made: expected all of the text, for "
                        "nothing says what part of it the model was trained on")
    own = corpus.sha256 == trained_on["sha256"]
    if not own and not data:
        raise UserError(f"corpus {trained_on['name']!r} is not the text that the model was trained on (its "
                        f"sha256 differs); {hint}")
    split = split or ("validation" if own else "all")
    documents = model.begin is not None and model.begin == model.tokenizer.end
    stream = token_stream(corpus, model.tokenizer, documents, report)
    if len(stream.tokens) < 2:
        raise UserError(f"corpus {corpus.name!r} has {len(stream.tokens)} tokens: expected at least 2, one "
                        f"to predict the next from")
    whole = part_of(stream, context)
    if split == "all" and not own:
        return corpus, split, whole, None
    training, validation = parts(stream, context, model.settings["train"]["val_fraction"])
    return corpus, split, {"validation": validation, "train": training, "all": whole}[split], training


def floor(part, tokenizer):
    """The least nats per target of a Part that a model can need on average which was not trained on these
    documents: their entropy, known where the grammar can tell every one, else None."""
    if part.windows is None:
        return None
    of_all = entropy.of_documents(map(tokenizer.decode, documents_of(part.stream)))
    return None if of_all is None else of_all / part.n_targets


def copied(part, training, tokenizer):
    """How many documents of a Part are in the training Part, though their source would hardly have told them
    twice: less than once in as many documents as the training Part has. (A language of few stories tells the
    same ones again and again. That is no copy, and to have read one gains nothing: the next story is as free
    as any.)"""
    often = math.log(training.n_documents)
    return repeated(part, training, lambda tokens: entropy.of_documents([tokenizer.decode(tokens)]) <= often)
