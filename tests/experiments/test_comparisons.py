"""Models beside models: 2B4T beside others of its size, and ternary sizes beside smaller ones in 16 bits."""
import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import comparisons
from minibitnet.measure import results
from minibitnet.measure.costs import weight_bytes

# ---- [2b4t] Table 1


def test_the_formula_gives_all_six_energies_of_the_2b4t_report():
    """The report prints no formula; six models of other shapes than b1's, to three digits, are the best
    evidence for it."""
    rows = [r for r in comparisons.report_costs()["rows"] if r["column"] == "Energy (J)"]
    assert len(rows) == 6 and all(r["agrees"] for r in rows)


def test_the_memory_of_the_2b4t_report_comes_out_but_for_one_model():
    """MiniCPM's 2,441,871,360 weights in 16 bits are 4.88 GB, printed 4.8."""
    rows = [r for r in comparisons.report_costs()["rows"] if r["column"] == "Memory (GB)"]
    assert len(rows) == 6 and [r["model"] for r in rows if not r["agrees"]] == ["MiniCPM 2B"]


# ---- [b158]: a ternary 13B costs less than a 16-bit 3B

def test_the_size_equivalences_hold_in_memory_bytes_read_and_energy_and_not_in_latency_measured_here():
    for r in comparisons.equivalences()["rows"]:
        assert all(r["of_ternary"][key] < r["of_float16"][key]
                   for key in ("memory", "read", "joules")), r["ternary"]
        assert r["of_ternary"]["ms"] > 2 * r["of_float16"]["ms"]


def test_an_equivalence_counts_a_cache_of_8_bits_and_of_16_and_every_layer():
    """13B beside 3B: 512 tokens of 416,000 bytes (8 bits), and of 332,800 (16 bits); 40 layers, and 26, of
    the milliseconds that were measured."""
    r = comparisons.equivalences()["rows"][0]
    times = {row["size"]: row["decode"]["ms"] for row in results.load("latency")["result"]["rows"]}
    assert r["of_ternary"]["memory"] == weight_bytes("13B")[0] + 512 * 416_000
    assert r["of_float16"]["memory"] == weight_bytes("3B")[1] + 512 * 332_800
    assert r["of_ternary"]["ms"] == 40 * times["13B"]["packed"]
    assert r["of_float16"]["ms"] == 26 * times["3B"]["dense float32"]


def test_without_measured_times_the_equivalences_say_what_is_missing(monkeypatch):
    for record, message in ((None, "no data/results/latency.json"),
                            ({"result": {"rows": []}}, "latency.json lacks 13B, 30B, 3B, 70B, 7B")):
        monkeypatch.setattr(results, "load", lambda *_, record=record: record)
        with pytest.raises(UserError, match=message):
            comparisons.equivalences()
