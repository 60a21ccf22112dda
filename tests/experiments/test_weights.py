"""Parameters and bytes, counted, against the papers' numbers."""
import pytest

from minibitnet.experiments import weights


def test_weights_are_less_than_the_memory_that_the_paper_prints_for_the_program():
    """The remainders: half a GB at 700M and 1.3B, one at 3B, and within 0.1 GB the same for LLaMA and
    BitNet."""
    rows = {(r["model"], r["size"]): r for r in weights.memory_table()["rows"]}
    for r in rows.values():
        assert r["weights"] + r["runtime"] == pytest.approx(float(r["printed"])) and 0.4 < r["runtime"] < 1.1
        assert not r["agrees"]
    of_weights = rows["BitNet b1.58", "3.9B"]["ratio_of_weights"]
    assert f"{of_weights:.2f}" == "4.64", "6.85 GB of LLaMA 3B over 1.48"
    for size in ("700M", "1.3B", "3B"):
        assert rows["LLaMA", size]["runtime"] == pytest.approx(rows["BitNet b1.58", size]["runtime"], abs=0.1)


def test_memory_ratios_of_weights_grow_with_the_size_as_the_printed_ones_do_and_are_above_them():
    ratios = weights.memory_ratios()["ratios"]
    for key in ("printed", "weights"):
        assert [float(r[key]) for r in ratios] == sorted(float(r[key]) for r in ratios)
    assert all(r["weights"] > float(r["printed"]) for r in ratios)
    *_, last = weights.memory_ratios_in_words({"ratios": ratios})
    assert last.endswith("1.62 times as large at 1.3B, 1.06 times at 70B."), "4.74 / 2.93 and 7.59 / 7.16"


def test_b1s_table_5_has_12_d_squared_weights_a_layer():
    """125M: 12 layers of 12 * 768^2 = 84,934,656."""
    rows = {r["size"]: r for r in weights.parameters()["rows"]}
    assert rows["125M"]["projections"] == 84_934_656
    assert rows["125M"]["embedding and head"] == 2 * 16_000 * 768
    assert {size: f"{r['off']:+.1%}" for size, r in rows.items()} == {
        "125M": "-12.4%", "350M": "-4.4%", "760M": "-4.1%", "1.3B": "-2.0%",
        "2.7B": "-3.8%", "6.7B": "-1.9%", "13B": "-1.9%", "30B": "-0.6%"}
    assert [size for size, r in rows.items() if r["agrees"]] == ["1.3B", "13B", "30B"]


def test_the_components_of_a_model_are_all_of_it():
    """2B-4T: 2,084,044,800 ternary weights in 521,011,200 bytes; 328,335,360 embeddings and 440,320 gains in
    16 bits; 210 scales in 32."""
    rows = weights.components()["rows"]
    assert rows["BitNet b1.58 2B"]["total"][1] == 521_011_200 + 2 * 328_335_360 + 2 * 440_320 + 4 * 210
    for parts in rows.values():
        for i in range(3):
            assert parts["total"][i] == sum(numbers[i] for name, numbers in parts.items()
                                            if name not in ("total", "KV cache, a token"))


def test_more_than_90_percent_is_saved_at_the_entropy_limit_alone():
    """1 - 1.585 / 16 = 90.1 %; 1.6 bits are 90 % and no more, 2 bits 87.5 %, the whole model 76 %."""
    result = weights.ninety_percent()
    assert [f"{r['saved']:.1%}" for r in result["rows"]] == ["90.1%", "90.0%", "89.5%", "87.5%"]
    assert [r["packing"] for r in result["rows"] if r["saved"] > 0.9 + 1e-12] == ["entropy limit, log2(3)"]
    assert f"{result['whole']['saved']:.1%}" == "75.6%"
    in_gb = [f"{gb:.3f}" for gb in result["report"]["weights"].values()]
    assert in_gb == ["0.413", "0.417", "0.440", "0.521"]
