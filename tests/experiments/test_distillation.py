"""Distillation in miniature: the students learn what they should, and the words say what the numbers say."""
import json

import numpy as np
import pytest

from minibitnet.experiments import distillation, miniatures
from minibitnet.experiments.distillation import TERMS, student
from minibitnet.experiments.lines import as_text
from minibitnet.nn.model import Transformer


@pytest.fixture
def short(monkeypatch):
    """A teacher and students that have hardly begun."""
    kept = miniatures.run
    monkeypatch.setattr(distillation, "run", lambda arm, d, lr, *rest, seed=0: kept(arm, d, lr, 3, seed))
    monkeypatch.setattr(distillation, "MORE", 3)
    student.cache_clear()
    yield
    student.cache_clear()


def test_students_differ_by_what_they_hear(short):
    usual = vars(Transformer)["loss"]
    weights = {what: student(0, what).arrays() for what in TERMS}
    assert vars(Transformer)["loss"] is usual
    name = "layers.0.mlp.down_proj.weight"
    arrays = [of[name] for of in weights.values()]
    assert not any(np.array_equal(a, b) for a, b in zip(arrays, arrays[1:]))
    again = student.__wrapped__(0, "and its relations").arrays()
    assert all(np.array_equal(array, again[key]) for key, array in weights["and its relations"].items())


def test_the_words():
    means = {"float teacher": 2.2, "the student at its beginning": 118.0, "rounded by GPTQ": 110.0,
             "trained on": 5.3, "with its distributions": 4.0, "and its relations": 4.2,
             "from scratch, 60 steps": 29.0, "from scratch, 210 steps": 2.1}
    result = {"config": {"width": 32, "steps": 150, "more": 60, "seeds": [0]},
              "rows": [{"what": what, "excess": [mean]} for what, mean in means.items()]}

    def said():
        return list(map(as_text, distillation.distill_in_words(json.loads(json.dumps(result)))))
    first, *rest = said()
    assert "118 nats a story above the floor at its beginning, trained on 5.3, with its distr" in first
    assert "the teacher 2.2; ternary from scratch in as many steps as both 2.1" in first
    assert "(differs)" not in first
    assert "60 steps end 23.7 nats below as many from scratch" in rest[-1]
    result["rows"][4]["excess"] = result["rows"][5]["excess"] = [6.0]
    assert "(differs)" in said()[0], "the teacher helps nothing"
