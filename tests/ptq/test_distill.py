"""Learning from a teacher: derived gradients, and what the terms are by pencil."""
import numpy as np
import pytest

from minibitnet.nn import ops
from minibitnet.nn.autograd import backward, record
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.gradcheck import vjp_error
from minibitnet.nn.model import Transformer
from minibitnet.ptq.distill import (distilled, relation_loss, relations, scaled, soft_cross_entropy, softmax,
                                    student_of)

CONFIG = dict(vocab_size=11, d_model=8, n_layers=2, n_heads=2, context=6)
IDS = np.array([[1, 2, 3, 4, 5], [5, 4, 3, 2, 1]])
TARGETS = np.array([[2, 3, 4, 5, 6], [4, 3, 2, 1, -1]])


def distribution(rng, *shape, axis=0):
    return softmax(rng.standard_normal(shape), axis)[0]


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_gradient_of_soft_targets_is_derived(rng, temperature):
    p, targets = distribution(rng, 6, 2, 4), rng.integers(-1, 6, (2, 4))
    assert vjp_error(soft_cross_entropy, rng.standard_normal((6, 2, 4)), rng=rng, p=p, targets=targets,
                     temperature=temperature) < 1e-6


def test_soft_targets_by_pencil():
    """Two tokens of equal logits cost log 2 whatever the teacher says; the second has no target."""
    p = np.array([[0.9, 0.2], [0.1, 0.8]])[:, None]
    loss = soft_cross_entropy.forward(np.zeros((2, 1, 2)), p=p, targets=np.array([[0, -1]]), temperature=1.0)
    assert loss == pytest.approx(np.log(2))
    hard = np.array([[1.0, 0.0], [0.0, 1.0]])[:, None]
    logits = np.array([[2.0, -1.0], [0.5, 3.0]])[:, None]
    targets = np.array([[0, 1]])
    soft = soft_cross_entropy.forward(logits, p=hard, targets=targets, temperature=1.0)
    assert soft == pytest.approx(float(ops.cross_entropy.forward(logits, targets)))


def test_the_gradient_of_relations_is_derived(rng):
    p = distribution(rng, 2, 3, 5, 5, axis=-1)
    assert vjp_error(relation_loss, rng.standard_normal((12, 2, 5)), rng=rng, p=p, head_dim=4) < 1e-6


def test_relations_by_pencil():
    """One head of one feature, values 0 and 1: rows (1/2, 1/2), and e^0, e^1 shared out."""
    found = relations(np.array([[[0.0, 1.0]]]), 1)[0, 0]
    e = np.e
    assert found == pytest.approx(np.array([[0.5, 0.5], [1 / (1 + e), e / (1 + e)]]))


def test_a_share_is_a_share(rng):
    assert vjp_error(scaled, np.array(2.0), rng=rng, share=0.25) < 1e-8
    assert scaled.forward(np.array(2.0), share=0.25) == 0.5


def test_a_student_begins_with_its_teachers_weights():
    teacher = Transformer(ModelConfig(linear="float", **CONFIG), 3)
    student = student_of(teacher)
    ours, theirs = student.arrays(), teacher.arrays()
    assert student.config.linear == "ternary" and set(theirs) < set(ours)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert all((ours[name] == 1).all() for name in set(ours) - set(theirs)), "the sub-norms' gains"


def test_the_terms_add_up_and_reach_every_weight():
    teacher = Transformer(ModelConfig(linear="float", **CONFIG), 3).quantized()
    model = student_of(Transformer(ModelConfig(linear="float", **CONFIG), 4))
    student = model.quantized(training=True)

    def loss(**terms):
        return float(distilled(student, teacher, IDS, TARGETS, **terms).data)
    plain = loss(logits=0.0)
    assert plain == float(student.loss(IDS, TARGETS).data)
    soft, related = loss(), loss(logits=0.0, relations_of=1)
    assert soft > plain and related > plain
    assert loss(relations_of=1) == pytest.approx(soft + related - plain, rel=1e-5)
    assert loss(logits=0.5) == pytest.approx(plain + (soft - plain) / 2, rel=1e-5)
    with record() as tape:
        gradients = backward(tape, distilled(student, teacher, IDS, TARGETS, relations_of=1))
    assert all(p.key in gradients for p in student.parameters().values())
    assert not any(p.key in gradients for p in teacher.parameters().values()), "the teacher does not learn"


def test_relations_alone_move_what_is_below_them():
    """Those of the first layer say nothing to the second one."""
    teacher = Transformer(ModelConfig(linear="float", **CONFIG), 3).quantized()
    student = student_of(Transformer(ModelConfig(linear="float", **CONFIG), 4)).quantized(training=True)

    def gradient(**terms):
        with record() as tape:
            found = backward(tape, distilled(student, teacher, IDS, TARGETS, logits=0.0, **terms))
        return {name: found[p.key] for name, p in student.parameters().items()}
    plain, related = gradient(), gradient(relations_of=0)
    moved = {name.split(".")[1] for name in plain if name.startswith("layers")
             and not np.array_equal(plain[name], related[name])}
    assert moved == {"0"}

