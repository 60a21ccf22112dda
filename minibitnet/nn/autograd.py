"""The tape: reverse-mode differentiation in one list.

An *op* is a function of arrays that returns ``(out, vjp)``; ``vjp(g)`` maps g = dL/d(out) to one gradient, or
None, per input (vector-Jacobian product). Inside ``with record() as tape`` every call appends one entry to a
list, and ``backward`` walks that list from its end. No graph is searched and nothing is sorted, for an op can
run only after its inputs exist. So even in the diamond below, where both branches must have reported before
`a` may pass its gradient on, plain reversed order is right:

    a = p(x);  b = q(a);  c = r(a);  y = add(b, c)          recorded:  p q r add      walked:  add r q p

The tape names tensors by number and does not hold them: an array that no vjp closed over is freed while the
forward pass still runs. Gradients live in a dictionary that ``backward`` returns, and each thread records its
own tape: several threads can differentiate the same parameters at once.
"""
import copy
import functools
import itertools
import threading
from contextlib import contextmanager

import numpy as np

_thread = threading.local()
_keys = itertools.count()


class Tensor:
    """A box around an array, or a tuple of arrays that stands for one, with a number, ``key``, that no other
    has or gets."""
    __slots__ = ("data", "key")

    def __init__(self, data):
        self.data, self.key = data, next(_keys)

    def __deepcopy__(self, memo):                # with a number of its own
        return Tensor(copy.deepcopy(self.data, memo))

    def __repr__(self):
        return f"<Tensor of {type(self.data).__name__} {getattr(self.data, 'shape', '')}>"


@contextmanager
def record():
    """Record the ops called in this block, by this thread, and yield the tape (a list)."""
    outer, _thread.tape = getattr(_thread, "tape", None), []
    try:
        yield _thread.tape
    finally:
        _thread.tape = outer


@contextmanager
def watch(see):
    """Call see(name, inputs, options, out) after every op in this block, by this thread: to look at what a
    model computes, not to change it."""
    outer, _thread.see = getattr(_thread, "see", None), see
    try:
        yield
    finally:
        _thread.see = outer


def op(fn):
    """Make ``fn(*arrays, **options) -> (out, vjp)`` an op on Tensors; plain arrays are allowed as constants.

    ``fn.forward(*arrays, **options)`` is the same formula without tape, Tensors or vjp.
    """
    @functools.wraps(fn)
    def call(*inputs, **options):
        out, vjp = fn(*(x.data if isinstance(x, Tensor) else x for x in inputs), **options)
        out = Tensor(out)
        tape = getattr(_thread, "tape", None)
        if tape is not None:
            tape.append((out.key, [x.key if isinstance(x, Tensor) else None for x in inputs], vjp))
        see = getattr(_thread, "see", None)
        if see is not None:
            see(fn.__name__, inputs, options, out)
        return out

    def forward(*arrays, **options):
        return fn(*arrays, **options)[0]
    # where pickle looks for it
    forward.__module__, forward.__qualname__ = fn.__module__, f"{fn.__qualname__}.forward"
    call.forward = forward
    return call


def backward(tape, loss, seed=1.0):
    """Gradients of seed * loss with respect to every Tensor that the tape did not produce: {key: array}.

    loss is a 0-d Tensor on the tape. The tape is consumed, so each op's arrays are freed once they were used.
    """
    grads = {loss.key: np.asarray(seed, loss.data.dtype)}
    while tape:
        out, inputs, vjp = tape.pop()
        g = grads.pop(out, None)
        if g is None:                                # the loss does not depend on this op
            continue
        for x, dx in zip(inputs, vjp(g), strict=True):
            if x is not None and dx is not None:
                # Not `+=`: add's vjp hands the *same* array to both of its inputs.
                grads[x] = grads[x] + dx if x in grads else dx
    return grads
