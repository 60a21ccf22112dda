"""The floor and a model that comes near it: neither can be wrong by a twenty-fifth and pass."""
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minibitnet.language_model import FloatEngine, LanguageModel
from minibitnet.evaluate import scores
from minibitnet.formats.rundir import RunDirectory
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.nn.optim import AdamW
from minibitnet.nn.training import Recorder, TrainConfig, train, with_defaults
from minibitnet.stories import building, entropy, walk
from minibitnet.text.batches import parts
from minibitnet.text.corpora import Corpus
from minibitnet.stories.storybook import table
from minibitnet.text.streams import token_stream
from minibitnet.text.tokenizer import make_tokenizer

PETS = building.build("""
story:
    {hero=people} had a {pet=pets}. [3*{He} lost the {pet}, and {other=people} found it.|The {pet} bit {other=people}.] {Hero} [sang|wept].
""", {"people": table("name he", "Ann|she; Bob|he; Cleo|she; Dan|he; Eve|she; Finn|he"),
      "pets": table("name", "cat; dog; ox; ant; hen")})


def test_a_model_that_learns_a_small_language_comes_down_to_its_floor_and_not_below(tmp_path, monkeypatch):
    """A hero of six, a pet of five, another of five, sang or wept; lost three times in four: log 300 - 3/4
    log 3/4 - 1/4 log 1/4 = 6.27 nats a story. On 201 of them the model of 600 small steps needs at most a
    twenty-fifth more (from other initial weights too: 0.12 to 0.17 nats), and no less but by chance: three
    standard errors, about 0.06 nats, of what each story cost it above its own floor."""
    monkeypatch.setattr(building, "grammar", lambda: PETS)
    stories = [walk.tell(walk.Dice(1, i)).text for i in range(2000)]
    tokenizer = make_tokenizer("bpe:300", stories)
    corpus = Corpus("pets", "".join(text + walk.SEPARATOR for text in stories), "", 0, 0, True)
    training, validation = parts(token_stream(corpus, tokenizer), 32, 0.1)
    config = ModelConfig(vocab_size=300, d_model=32, n_layers=2, n_heads=2, context=32, linear="float")
    settings = {"model": {}, "train": {"batch": 16}, "corpus": {"documents": True}}
    run, transformer = RunDirectory(tmp_path / "run"), Transformer(config, 0)
    run.create(settings, tokenizer)
    c = with_defaults(TrainConfig(steps=600, batch=16, eval_every=600), config)
    train(transformer, AdamW(transformer.parameters()), c, training, Recorder(run, settings, validation, 1))
    run.close()

    model = LanguageModel(FloatEngine(transformer), tokenizer, settings)
    with ThreadPoolExecutor(1) as pool:
        result = scores(model, validation, pool, None)
    floor = validation.per_document(result["floor"])
    excess = np.array([model.along(text)[0].sum() - entropy.of_document(text)
                       for text in stories[-validation.n_documents:]])
    standard_error = excess.std() / math.sqrt(len(excess))
    assert entropy.expected(PETS).nats == pytest.approx(math.log(300) - 0.75 * math.log(0.75) - 0.25
                                                        * math.log(0.25))
    assert result["excess_per_document"] == pytest.approx(excess.mean(), abs=1e-4) and standard_error < 0.03
    assert -3 * standard_error <= result["excess_per_document"] <= floor / 25
