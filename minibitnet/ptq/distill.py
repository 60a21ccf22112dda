"""Learning from a float teacher what rounding loses.   [bitdistill] arXiv 2510.13998

A ternary student begins with the teacher's weights, and with the sub-norms that BitNet has and the teacher
has not. It goes on training, and beside the text it learns from the teacher's distributions, which say of
every token what else might have come, and from how the teacher's tokens attend to each other:

    loss = cross entropy + share of the logits' term + share of the relations' term

[bitdistill] takes the relations from [minilm2] arXiv 2012.15828: of the queries, keys and values of one
layer, softmax(X^T X / sqrt D) per head.

Departures: queries and keys are taken as attention sees them, behind the rotary embedding; the terms are
cross entropies, which differ from the divergences of the papers by the teacher's entropy, a constant, and not
in their gradients; queries, keys and values share the relations' term equally; and there is one text, so that
continued training and learning the task are one stage.
"""
import math
from dataclasses import replace

import numpy as np

from ..exact import exp, fine_product, log, total
from ..nn import ops
from ..nn.autograd import op, record, watch
from ..nn.model import Transformer


@op
def soft_cross_entropy(logits, *, p, targets, temperature):   # (V, B, T), constants (V, B, T), (B, T) -> ()
    """tau^2 times the mean of -sum_v p_v log softmax(logits / tau)_v over the tokens with a target; p: the
    teacher's distribution at that temperature. tau^2 keeps its gradient as large as at tau = 1."""
    shape, tau = logits.shape, logits.dtype.type(temperature)
    z, p = (logits / tau).reshape(len(logits), -1), p.reshape(len(p), -1)
    counts = (targets >= 0).ravel()
    N = logits.dtype.type(max(1, np.count_nonzero(counts)))
    q, log_q = softmax(z)
    each = total(p * log_q)[0]

    def vjp(g):                                  # dlogits = g tau (q - p) / N
        return (counts * (q - p) * (g * tau / N)).reshape(shape),
    return -tau * tau * total(np.where(counts, each, 0))[0] / N, vjp


@op
def relation_loss(x, *, p, head_dim):            # (H D, B, T), a constant (B, H, T, T) -> ()
    """The mean over heads and tokens of -sum_j p_ij log softmax_j(x_i . x_j / sqrt D); p: the teacher's."""
    xs = heads_of(x, head_dim)                                           # (B, H, T, D)
    scale = x.dtype.type(1 / math.sqrt(head_dim))
    q, log_q = softmax(similarities(xs) * scale, axis=-1)
    N = x.dtype.type(p.shape[0] * p.shape[1] * p.shape[2])

    def vjp(g):                                  # dS = g (q - p) / N,  dX = (dS + dS^T) X / sqrt D
        dS = (q - p) * (g * scale / N)
        dX = fine_product(np.ascontiguousarray(dS + dS.swapaxes(-1, -2)), xs)
        return dX.transpose(1, 3, 0, 2).reshape(x.shape),
    return -total((p * log_q).reshape(-1))[0] / N, vjp


def heads_of(x, D):                              # (H D, B, T) -> (B, H, T, D)
    """Contiguous."""
    return np.ascontiguousarray(x.reshape(-1, D, *x.shape[1:]).transpose(2, 0, 3, 1))


def similarities(xs):                            # (B, H, T, D) -> (B, H, T, T)
    """Of every token with every other."""
    return fine_product(xs, np.ascontiguousarray(xs.swapaxes(-1, -2)))


def softmax(z, axis=0):                          # -> softmax along the axis, and its logarithm
    """Both, for a loss needs both."""
    shifted = z - z.max(axis, keepdims=True)
    e = exp(shifted)
    Z = total(e, axis)
    return e / Z, shifted - log(Z)


def relations(x, head_dim):                      # (H D, B, T) -> (B, H, T, T)
    """How the tokens attend to each other, by their queries, keys or values."""
    S = similarities(heads_of(x, head_dim)) * x.dtype.type(1 / math.sqrt(head_dim))
    return softmax(S, axis=-1)[0]


def distilled(student, teacher, ids, targets, *, logits=1.0, relations_of=None, share=1.0, temperature=1.0):
    """The loss of a (quantized) student beside its teacher: a () Tensor, on the tape if there is one.

    logits: share of the logits' term; relations_of: the layer whose relations count, or None; share: theirs.
    """
    seen = []
    with watch(lambda name, inputs, options, out: name == "causal_attention" and seen.append(inputs)):
        y = student(ids)
    told = []
    with record(), watch(lambda name, inputs, *rest: name == "causal_attention" and told.append(inputs)):
        z = teacher(ids).data                                            # on a tape that is thrown away
    loss = ops.cross_entropy(y, targets)
    if logits:
        p = softmax(z / z.dtype.type(temperature))[0]
        loss = ops.add(loss, scaled(soft_cross_entropy(y, p=p, targets=targets, temperature=temperature),
                                    share=logits))
    if relations_of is not None:
        D = student.config.head_dim
        for ours, theirs in zip(seen[relations_of], told[relations_of]):
            loss = ops.add(loss, scaled(relation_loss(ours, p=relations(theirs.data, D), head_dim=D),
                                        share=share / 3))
    return loss


@op
def scaled(x, *, share):                         # () -> ()
    """share x"""
    share = x.dtype.type(share)
    return x * share, lambda g: (g * share,)


def student_of(teacher, linear="ternary"):
    """A Transformer of another variant with a teacher's weights; what the teacher has not (the sub-norms'
    gains) begins as in any new model."""
    student = Transformer(replace(teacher.config, linear=linear))
    theirs = teacher.arrays()
    for name, array in student.arrays().items():
        if name in theirs:
            array[:] = theirs[name]
    return student

