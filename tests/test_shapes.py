"""Shapes that NumPy would broadcast, ids that it would wrap around: refused, in a line."""
import numpy as np
import pytest

from minibitnet.errors import UserError
from minibitnet.formats.packed import pack
from minibitnet.inference.integer import IntegerModel
from minibitnet.inference.packed_engine import PackedModel
from minibitnet.language_model import FloatEngine
from minibitnet.nn import ops
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

C = ModelConfig(vocab_size=11, d_model=16, n_layers=1, n_heads=2, context=8)


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize("op, arrays, options, message", [
    (ops.add, [zeros(4, 2, 3), zeros(4, 1, 1)], {}, r"add of shapes \(4, 2, 3\) and \(4, 1, 1\)"),
    (ops.add, [zeros(4, 2, 3), zeros(3)], {}, "add of shapes"),
    (ops.rms_norm, [zeros(4, 2, 3), zeros(1)], {"eps": 1}, r"features and gain of shapes \(4,\) and \(1,\)"),
    (ops.rms_norm, [zeros(4, 3), zeros(4)], {"eps": 1}, r"features and gain of shapes \(\) and \(4,\)"),
    (ops.swiglu, [zeros(4, 2, 3), zeros(1, 2, 3)], {}, "swiglu of shapes"),
    (ops.relu2_gate, [zeros(4, 2, 3), zeros(4, 2, 1)], {}, "relu2_gate of shapes"),
    (ops.causal_attention, [zeros(4, 2, 3), zeros(4, 1, 3), zeros(4, 1, 3)], {"head_dim": 2},
     "keys and values of shapes"),
    (ops.causal_attention, [zeros(4, 2, 3), zeros(4, 2, 2), zeros(4, 2, 2)], {"head_dim": 2},
     "keys and values of shapes"),
    (ops.causal_attention, [zeros(4, 2, 3), zeros(4, 2, 3), zeros(4, 2, 1)], {"head_dim": 2},
     "keys and values of shapes"),
    (ops.cross_entropy, [zeros(5, 2, 3), np.zeros((1, 1), int)], {}, "tokens and targets of shapes"),
    (ops.cross_entropy, [zeros(5, 2, 3), np.zeros((3, 2), int)], {}, "tokens and targets of shapes"),
])
def test_an_op_refuses_what_would_broadcast(op, arrays, options, message):
    """Each of these gave a result, and gradients of a shape that is not their array's."""
    with pytest.raises(UserError, match=message):
        op.forward(*arrays, **options)


@pytest.fixture(scope="module", params=["Transformer", "float", "packed", "integer"])
def run(request):
    """A function from ids (B, T) to logits."""
    transformer = Transformer(C)
    return {"Transformer": lambda: transformer, "float": lambda: FloatEngine(transformer),
            "packed": lambda: PackedModel(C, *pack(transformer.arrays(), C)),
            "integer": lambda: IntegerModel(C, *pack(transformer.arrays(), C))}[request.param]()


@pytest.mark.parametrize("ids, message", [
    ("a text", "a text, 'a text', where token ids belong: expected integers from 0 to 10"),
    (np.arange(3), r"token ids of shape \(3,\): expected \(sequences, tokens\), at least one"),
    (np.zeros((1, 0), int), r"token ids of shape \(1, 0\)"),
    (np.array([[0, -1]]), "token ids from -1 to 0: expected integers from 0 to 10"),
    (np.array([[0, 11]]), "token ids from 0 to 11: expected integers from 0 to 10"),
    (np.array([[0.5]]), "token ids of type float64: expected integers"),
    (np.array([[True]]), "token ids of type bool: expected integers"),
    (np.zeros((1, 9), int), "9 tokens: expected at most the context of 8"),
])
def test_ids_that_are_none_are_refused_by_whatever_runs_a_model(run, ids, message):
    """-1 was the last token, and True the second."""
    with pytest.raises(UserError, match=message):
        run(ids)
    assert len(getattr(result := run(np.array([[1, 2]])), "data", result)) == 11
