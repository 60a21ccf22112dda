"""Models beside models: 2B4T beside five of its size, and ternary sizes beside smaller ones in 16 bits."""
import math
from typing import NamedTuple

from ..errors import UserError
from ..measure import results
from ..measure.costs import MODELS, cache_bytes, weight_bytes
from . import energy, paper
from .latency import DENSE, PACKED, in_words as words_of_latency
from .lines import Experiment, Line

# ---- [2b4t] Table 1: memory without embeddings, and energy for 512 tokens
#
# Neither column has a formula in the report. Memory: 16 bits for each weight of a projection, of the ternary
# model log2(3) bits. Energy: the formula that was inferred from the other papers (``energy.py``), over the
# published shapes.

def report_costs():
    """-> {"rows": for each model and column what is printed, ours in GB or J, and whether they agree to the
    digits printed}"""
    rows = []
    for name, printed in paper.table("2b4t_table_1").rows.items():
        shape, ternary = MODELS[name], name.startswith("BitNet")
        bits = math.log2(3) if ternary else 16
        ours = {"Memory (GB)": shape.n_layers * sum(n * m for n, m in shape.matrices) * bits / 8 / 1e9,
                "Energy (J)": energy.of_shape(shape, ternary)}
        rows += [{"model": name, "column": column, "bits": bits, "printed": printed[column], "ours": value,
                  "agrees": paper.agrees(value, printed[column])} for column, value in ours.items()]
    return {"rows": rows}


def report_costs_in_words(result):
    """A line for every cell."""
    yield ("Both formulas are inferred, not published. That six energies of six shapes come out is the "
           "best evidence for the one of energy.")
    yield Line("memory and energy of six models", paper.how_many_agree(result["rows"]), "512 tokens at 7 nm")
    for r in result["rows"]:
        unit = r["column"].split("(")[1][:-1]
        bits = f"{r['bits']:.3g} bits for each weight of a projection"
        yield Line(f"{r['model']}: {r['printed']} {unit}", f"{r['ours']:.4f} {unit}",
                   bits if unit == "GB" else "512 tokens at 7 nm", differs=not r["agrees"])
    yield ("2 bits a weight, as the model is shipped, are 0.52 GB and not 0.4, and its embedding takes "
           "0.66 GB more: see repo-90-percent.")


# ---- [b158]: a ternary 13B costs less than a 16-bit 3B, 30B less than 7B, 70B less than 13B
#
# Memory and energy are counted, and so are the bytes read for a token, which bound the latency of decoding
# where a processor waits for memory. Ours does not: beside them stands what ``latency.py`` measured, a
# block's time times the layers, packed beside dense float32.

PAIRS = (("13B", "3B"), ("30B", "7B"), ("70B", "13B"))
POSITIONS, CACHE_BITS = 512, (8, 16)                             # of the ternary model, and of the 16-bit one


class Cost(NamedTuple):
    """One thing that a model costs, and how a line says it."""
    what: str
    key: str             # where a result has it
    unit: float
    digits: int
    unit_name: str
    scale: str


COSTS = (
    Cost("memory", "memory", 1e9, 2, "GB", "counted"),
    Cost("energy", "joules", 1, 3, "J", "counted"),
    Cost("read for a token", "read", 1e9, 2, "GB", "counted: latency, where memory bounds it"),
    Cost("latency", "ms", 1e3, 2, "s",
         "data/results/latency.json: a block times its layers, packed beside dense float32"),
)


def equivalences():
    """-> {"positions", "cache_bits", "rows": for each pair the costs of both}; the times are those of
    data/results/latency.json."""
    expected = "expected what python -m minibitnet.reproduce latency --full writes"
    record = results.load("latency", words_of_latency)
    if not record:
        raise UserError(f"there is no data/results/latency.json: {expected}")
    times = {row["size"]: row["decode"]["ms"] for row in record["result"]["rows"]}
    if missing := {size for pair in PAIRS for size in pair} - set(times):
        raise UserError(f"data/results/latency.json lacks {', '.join(sorted(missing))}: {expected}")

    def costs(size, ternary):
        kind = PACKED if ternary else DENSE
        return counted(size, ternary) | {"ms": MODELS[size].n_layers * times[size][kind]}
    return {"positions": POSITIONS, "cache_bits": list(CACHE_BITS),
            "rows": [{"ternary": a, "float16": b, "of_ternary": costs(a, True), "of_float16": costs(b, False)}
                     for a, b in PAIRS]}


def counted(size, ternary):
    """-> memory (bytes, with a cache of 512 tokens), bytes read for a token, joules of 512 tokens at 7 nm."""
    shape, which = MODELS[size], 0 if ternary else 1
    weights, cache = weight_bytes(size)[which], POSITIONS * cache_bytes(shape, CACHE_BITS[which])
    read = weights - 2 * shape.vocab * shape.d + cache           # of the embedding only a row is read
    return {"memory": weights + cache, "read": read, "joules": energy.of_shape(shape, ternary)}


def equivalences_in_words(result):
    """One line for every cost, and four for every pair."""
    yield ("Shapes of 13B to 70B are LLaMA's (measure/costs.py); the energy formula is inferred. "
           f"{result['positions']} tokens in the cache, in {result['cache_bits'][0]} bits of the ternary "
           f"model and in {result['cache_bits'][1]} of the other.")
    rows = result["rows"]
    less = {cost.what: sum(r["of_ternary"][cost.key] < r["of_float16"][cost.key] for r in rows)
            for cost in COSTS}
    here = ", ".join(f"{what}: {n} of {len(rows)}" for what, n in less.items())
    pairs = ", ".join(f"{r['ternary']} beside {r['float16']}" for r in rows)
    yield Line("the ternary one costs less", here, pairs, differs=min(less.values()) < len(rows))
    for r in rows:
        claim = f"ternary {r['ternary']} costs less than 16-bit {r['float16']}"
        for cost in COSTS:
            a, b = (r[of][cost.key] / cost.unit for of in ("of_ternary", "of_float16"))
            here = f"{cost.what} {a:.{cost.digits}f} against {b:.{cost.digits}f} {cost.unit_name}"
            yield Line(claim, here, cost.scale, differs=a >= b)
    yield ("In bytes and joules the sentence holds. Its seconds are the kernels': on the paper's GPU "
           "decoding waits for the bytes, and our NumPy kernels for two bits are only a little faster than "
           "dense float32 of the same size (b158-fig-2-latency).")


EXPERIMENTS = {
    "report_costs": Experiment(report_costs, report_costs_in_words),
    "equivalences": Experiment(equivalences, equivalences_in_words),
}
