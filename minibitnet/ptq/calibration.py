"""What the inputs of each matrix are like, on some text: for methods that ask."""
import copy
from typing import NamedTuple

import numpy as np

from ..exact import Operand, fine_product
from ..nn.autograd import Tensor
from ..nn.layers import Linear, Module

SHARED = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}      # whose inputs are whose


class Batch(NamedTuple):
    """x: a Tensor, the residual stream (C, B, T); rotary: its tables; counts (B, T): which are text."""
    x: Tensor
    rotary: list
    counts: np.ndarray


class Inputs:
    """Of one matrix: largest (m,), max|X_j|;  H (m, m) = 2 X X^T;  n, how many tokens."""

    def __init__(self):
        self.largest, self.H, self.n = 0.0, 0.0, 0

    def add(self, x):                            # (m, tokens) float32
        """Take in some tokens. (x goes on a fine grid, its product is exact, then rounded to float32; the
        parts of batches are added in turn.)"""
        self.largest = np.maximum(self.largest, np.abs(x).max(1))
        self.H = self.H + 2 * fine_product(x, np.ascontiguousarray(x.T)).astype(np.float64)
        self.n += x.shape[1]


class Heard(Linear):
    """A Linear that tells an Inputs what comes in."""

    def __init__(self, linear, inputs, batch):
        self.weight, self.inputs, self.batch = linear.weight, inputs, batch

    def hear(self, x):
        self.inputs.add(np.ascontiguousarray(x.data[:, self.batch.counts]))

    def prepare_input(self, x):                  # of q, for k and v as well; of gate, for up
        self.hear(x)
        return super().prepare_input(x)

    def __call__(self, x):
        if not isinstance(x.data, Operand):      # of o, and of down
            self.hear(x)
        return super().__call__(x)


def inputs_of(block, batches):
    """A Block in floats and what goes into it -> {"q_proj", "o_proj", "gate_proj", "down_proj": Inputs}"""
    found = {}
    for batch in batches:
        heard(block, found, batch)(batch.x, batch.rotary)
    return found


def heard(module, found, batch):
    """A copy of a Module whose Linears tell found {name: Inputs} what comes in."""
    twin = copy.copy(module)
    for name, value in vars(module).items():
        if isinstance(value, Linear):
            if name not in SHARED:
                setattr(twin, name, Heard(value, found.setdefault(name, Inputs()), batch))
        elif isinstance(value, Module):
            setattr(twin, name, heard(value, found, batch))
    return twin
