"""Random layers for tests of quantizing after training."""
from minibitnet.exact import Random
from minibitnet.ptq.gptq import damped


def layer(n, m, seed, like=0.7):
    """Weights (n, m) and the H of inputs that are alike."""
    rng = Random(seed)
    x = rng.standard_normal((m, 2 * m)) + like * rng.standard_normal((1, 2 * m))
    return rng.standard_normal((n, m)), damped(2 * x @ x.T)


def objective(w, q, H):
    """|W X - Q X|^2, twice."""
    return (((w - q) @ H) * (w - q)).sum()
