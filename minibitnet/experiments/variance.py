"""[bitnet] eqs. 8-10: with a norm in front of the quantizer, the variance of a BitLinear's output is of size 1, whatever the input and the width.

    Var(y) = m beta^2 E[x^2],  E[x^2] = 1 behind the norm.   Gaussian weights of variance 1/m, as initialized, have beta^2 = (E|w|)^2 = 2 / (pi m)

m is the number of inputs, the paper's n.

So Var(y) = 2 / pi = 0.637 for binary weights, not quite 1; for ternary ones that times the share of weights that are not 0, 0.690.
"""
import math

import numpy as np

from ..nn import ops
from ..quant import absmax_int8, absmean_ternary, sign_binary
from .lines import Line

WIDTHS, INPUT_SIZES, OUTPUTS, TOKENS, SEED = (64, 4096), (0.1, 1.0, 10.0), 512, 64, 0
NOT_ZERO = 1 - math.erf(0.5 / math.sqrt(math.pi))            # P(|w| > E|w| / 2) of a Gaussian: 0.690
EXPECTED = {"binary": 2 / math.pi, "ternary": 2 / math.pi * NOT_ZERO}
QUANTIZERS = {"binary": sign_binary, "ternary": absmean_ternary}


def quick():
    """Gaussian weights and inputs -> Var(y) with and without the norm, by width and size of the input."""
    rng, rows = np.random.default_rng(SEED), []
    for m in WIDTHS:
        w, x = rng.standard_normal((OUTPUTS, m)) / math.sqrt(m), rng.standard_normal((m, 1, TOKENS))
        for name, quantize in QUANTIZERS.items():
            for size in INPUT_SIZES:
                normed = ops.layer_norm.forward(size * x, eps=1e-6)
                with_norm, without = (float(ops.quantized_linear.forward(absmax_int8(a), quantize(w)).var()) for a in (normed, size * x))
                rows.append({"weights": name, "width": m, "input": size, "with_norm": with_norm, "without": without})
    return {"config": {"outputs": OUTPUTS, "tokens": TOKENS, "seed": SEED}, "expected": EXPECTED, "rows": rows}


def in_words(result):
    """A line for every width, input and kind of weights."""
    c = result["config"]
    ranges = [(name, [r["with_norm"] for r in result["rows"] if r["weights"] == name]) for name in result["expected"]]
    scale = (f"widths {' and '.join(map(str, WIDTHS))}, inputs of standard deviation {INPUT_SIZES[0]:g} to "
             f"{INPUT_SIZES[-1]:g}")
    here = ", ".join(f"{min(y):.3f} to {max(y):.3f} with {name} weights" for name, y in ranges)
    yield Line("Var(y) near 1", here, scale, differs=not all(map(near_1, result["rows"])))
    for r in result["rows"]:
        by_formula = f"{result['expected'][r['weights']]:.3f} by eqs. 8-10"
        here = f"{r['with_norm']:.3f} with the norm ({by_formula}), {r['without']:.3g} without"
        scale = (f"{r['weights']}, {r['width']} features of standard deviation {r['input']:g}, {c['outputs']} outputs, "
                 f"{c['tokens']} tokens")
        yield Line("Var(y) near 1", here, scale, differs=not near_1(r))
    yield ("The paper's \"approximately 1\" is 2 / pi: beta is a mean magnitude, not a root mean square. But it is a constant: no width and "
           "no size of the input changes it.")


def near_1(r):
    """Does the variance come out as the paper says?"""
    return abs(r["with_norm"] - 1) < 0.1
