"""SmoothQuant: what makes inputs hard to quantize is moved into the weights.   [smoothquant] arXiv 2211.10438

A few features of the residual stream are far larger than the others, in every token, and a token's scale is
that of its largest feature. Divide each feature j by s_j, and multiply the column of W that meets it:

    Y = W X = (W diag(s)) (diag(s)^-1 X)                        [smoothquant] eq. 3, tokens as columns here
    s_j = max|X_j|^alpha / max|W_j|^(1 - alpha)                 [smoothquant] eq. 4

X comes out of a norm, whose gain takes the division: gain_j / s_j. So the model in floats computes what it
computed, and nothing is added to it. Every matrix that reads the norm counts in max|W_j|: q, k and v; gate
and up. (o and down read no norm, and stay as they are, as in the paper.)
"""
import numpy as np

from ..exact import exp, log
from ..quant import EPS

ALPHA = 0.5


def scales(largest, weights, alpha=ALPHA):       # (m,), [(n, m)] -> (m,)
    """s: largest: max|X_j| of each input; weights: the matrices that read it."""
    of_weights = np.max([np.abs(w).max(0) for w in weights], axis=0)
    of_inputs, of_weights = (np.maximum(np.asarray(x, np.float64), EPS) for x in (largest, of_weights))
    return exp(alpha * log(of_inputs) - (1 - alpha) * log(of_weights))


def smooth(norm, linears, largest, alpha=ALPHA):
    """Move the scales of inputs from a norm's gain into the layers that read it; in place. largest: max|X_j|
    of what the norm gives."""
    s = scales(largest, [layer.weight.data for layer in linears], alpha)
    norm.weight.data = (norm.weight.data / s).astype(np.float32)
    for layer in linears:
        layer.weight.data = (layer.weight.data * s).astype(np.float32)
