"""Where the time of a training step goes: NumPy's, for the op that called it."""
import pstats

import numpy as np
import pytest

from minibitnet import exact
from minibitnet.measure import step_profile, timing
from minibitnet.nn import autograd, ops, optim
from minibitnet.nn.config import ModelConfig

SMALL = ModelConfig(vocab_size=8, d_model=4, n_heads=1, d_ffn=6, n_layers=1, context=8, linear="float")


def at(fn):
    """A function's key in a profile."""
    return step_profile.key(getattr(fn, "__wrapped__", fn))


def built_in(name):
    return "~", 0, f"<built-in method {name}>"


def profiled(calls):
    """{function: (own time, whole time, {caller: whole time})} as pstats.Stats."""
    stats = pstats.Stats()
    stats.stats = {function: (1, 1, own, whole,
                              {caller: (1, 1, 0.0, part) for caller, part in callers.items()})
                   for function, (own, whole, callers) in calls.items()}
    return stats


def test_by_op_gives_numpys_time_to_the_op_that_called_it():
    """A hand-made profile: rms_norm 0.25 s, and 1 s in .sum(), which calls Python, which calls reduce;
    backward 0.5 s; AdamW 3 s, and 1 s in sum(), of which a generator of its own takes 0.75; 0.5 s of a
    built-in that a layer called."""
    rms_norm, inner = at(ops.rms_norm), (f"{np.__path__[0]}/_core/_methods.py", 50, "_sum")
    method, reduce, total, repeat = map(built_in, ("sum of ndarray", "reduce", "sum", "repeat"))
    step, generator = at(optim.AdamW.step), (optim.__file__, 7, "<genexpr>")
    layer, backward = ("/x/layers.py", 3, "f"), at(autograd.backward)
    stats = profiled({
        rms_norm: (0.25, 1.25, {}),
        method: (0.1, 1.0, {rms_norm: 1.0}),
        inner: (0.1, 0.9, {method: 0.9}),
        reduce: (0.8, 0.8, {inner: 0.8}),
        backward: (0.5, 0.5, {}),
        step: (3.0, 4.0, {}),
        total: (0.25, 1.0, {step: 1.0}),
        generator: (0.75, 0.75, {total: 0.75}),
        repeat: (0.5, 0.5, {layer: 0.5})})
    assert step_profile.by_op(stats) == {"rms_norm": 1.25, "sums on the tape": 0.5, "AdamW, clipping": 4.0,
                                         step_profile.PYTHON: 0.5}
    assert sum(step_profile.by_op(stats).values()) == sum(own for _, _, own, _, _ in stats.stats.values())


def test_by_op_gives_exact_arithmetics_time_to_the_op_that_called_it_and_products_to_themselves():
    """A hand-made profile: linear 0.5 s, 2 s in fine_product, of which product takes 1.5 and a cast 0.25,
    and 0.25 s in product itself; attention 1 s, 4 s in fine_product, of which product takes 3.5 and a cast
    0.25; rms_norm 0.25 s, and 1 s in total, of which NumPy takes 0.75; a layer 0.125 s, and 0.5 s in
    operand, of which a named tuple takes 0.125 and a tuple in it another 0.125."""
    linear, attention, rms_norm = map(at, (ops.linear, ops.causal_attention, ops.rms_norm))
    fine_product, product, total, operand = map(
        at, (exact.fine_product, exact.product, exact.total, exact.operand))
    cast, reshape, made = map(built_in, ("astype", "reshape", "tuple.__new__"))
    layer, named = ("/x/layers.py", 3, "quantized"), ("<string>", 1, "<lambda>")
    stats = profiled({
        linear: (0.5, 2.75, {}),
        attention: (1.0, 5.0, {}),
        rms_norm: (0.25, 1.25, {}),
        layer: (0.125, 0.625, {}),
        fine_product: (0.5, 6.0, {linear: 2.0, attention: 4.0}),
        product: (5.25, 5.25, {fine_product: 5.0, linear: 0.25}),
        cast: (0.5, 0.5, {fine_product: 0.5}),
        total: (0.25, 1.0, {rms_norm: 1.0}),
        reshape: (0.75, 0.75, {total: 0.75}),
        operand: (0.25, 0.5, {layer: 0.5}),
        named: (0.125, 0.25, {operand: 0.25}),
        made: (0.125, 0.125, {named: 0.125})})
    assert step_profile.by_op(stats) == {
        "linear": 0.5, step_profile.PRODUCTS: 2.25, step_profile.ATTENTION: 5.0, "rms_norm": 1.25,
        "ready": 0.5, step_profile.PYTHON: 0.125}
    assert sum(step_profile.by_op(stats).values()) == sum(own for _, _, own, _, _ in stats.stats.values())


def test_a_profile_of_our_step_names_every_second(monkeypatch):
    """What it says of the ops is all that the profiler saw, and nothing is left to Python that an op does:
    products, attention, norms ..."""
    seen = []
    monkeypatch.setattr(step_profile, "task", lambda size, linear: (SMALL, *np.zeros((2, 4, 8), int)))
    monkeypatch.setattr(step_profile.pstats, "Stats",
                        lambda profiler, make=pstats.Stats: seen.append(make(profiler)) or seen[0])
    row = step_profile.profile("S", "float")
    ms = 1e3 * seen[0].stats[at(timing.repeat)][3] / 4
    assert sum(row["by_op"].values()) == pytest.approx(ms, rel=1e-3)
    assert row["by_op"].keys() > {
        step_profile.PRODUCTS, step_profile.ATTENTION, "rms_norm", "rope", "swiglu", "cross_entropy",
        "ready", "linear", "head", "AdamW, clipping", "sum over shards"}
    assert min(row["by_op"].values()) > 0 and row["ms"] > 0 and row["system_ms"] >= 0


def test_profiles_are_columns_that_add_up():
    """3 of 4 ms are 75 %. An op that took next to no time anywhere has no line; one that a column lacks has a
    0 there."""
    rows = [{"size": "S", "linear": linear, "ms": 3.5, "system_ms": 0.1, "by_op": by_op}
            for linear, by_op in (("ternary", {"linear": 3.0, "add": 1.0, "rope": 0.001}),
                                  ("float", {"linear": 8.0}))]
    lines = [line.split() for line in step_profile.in_words(rows).splitlines()]
    assert [words[0] for words in lines] == ["ms", "linear", "add", "in", "by", "..."]
    assert lines[1][1:] == ["3.0", "75.0%", "8.0", "100.0%"]
    assert lines[2][1:] == ["1.0", "25.0%", "0.0", "0.0%"]
