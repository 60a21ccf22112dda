from dataclasses import replace

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import (components, contexts, equivalences, experts, largest_batch,
                                    memory_ratios, memory_table)
from minibitnet.experiments import ninety_percent, parameters
from minibitnet.measure import results
from minibitnet.measure.costs import MODELS, Shape, cache_bytes, memory, weight_bytes
from minibitnet.nn.config import ModelConfig


def test_bytes_by_pencil():
    """d 4, d_ffn 6, 1 layer, 10 tokens, one key-value head of 2: q, o 4x4, k, v 2x4, gate, up 6x4, down 4x6
    are 120 weights. Rows go in fours: q, o 4 bytes, k, v 4, gate, up 8, down 6, in all 38. Gains 3 * 4 + 6
    and the last norm's 4; 40 embeddings, 40 of the head."""
    table = memory(ModelConfig(vocab_size=10, d_model=4, n_layers=1, n_heads=2, n_kv_heads=1, d_ffn=6))
    assert table["BitLinear weights"] == (120, 38, 240, 480) and table["BitLinear scales"] == (7, 28, 0, 0)
    assert table["norms"] == (22, 88, 44, 88) and table["embedding"] == table["head"] == (40, 160, 80, 160)
    assert table["total"] == (229, 38 + 28 + 88 + 320, 240 + 44 + 160, 480 + 88 + 320)
    assert table["KV cache, a token"] == (4, 16, 8, 16)


def test_a_tied_head_costs_nothing():
    assert memory(ModelConfig(tied=True))["head"] == (0, 0, 0, 0)


def test_2b4t_has_the_weights_that_its_report_counts():
    """2,412,820,480 parameters (the released file's), of which 2,084,044,800 are ternary; 16-bit
    embeddings."""
    c = ModelConfig(vocab_size=128_256, d_model=2560, n_layers=30, n_heads=20, n_kv_heads=5, d_ffn=6912,
                    activation="relu2", tied=True)
    table = memory(c, bytes_of_rest=2)
    assert table["total"][0] - table["BitLinear scales"][0] == 2_412_820_480
    assert table["BitLinear weights"][0] == 2_084_044_800 and table["BitLinear weights"][1] == 521_011_200


def test_the_shapes_have_the_parameters_of_the_published_models():
    """LLaMA 7B, 13B, 30B and LLaMA 2 70B have these, to the last one; so has 2B-4T."""
    for name, n in {"7B": 6_738_415_616, "13B": 13_015_864_320, "30B": 32_528_943_616,
                    "70B": 68_976_648_192}.items():
        assert replace(MODELS[name].config, linear="float").n_parameters == n
    assert weight_bytes("BitNet b1.58 2B")[1] == 2 * 2_412_820_480


def test_a_shape_whose_heads_are_not_as_wide_as_the_model_is_no_configuration():
    with pytest.raises(AssertionError, match="heads"):
        MODELS["Gemma-3 1B"].config  # noqa: B018


def test_weights_are_less_than_the_memory_that_the_paper_prints_for_the_program():
    """The remainders: half a GB at 700M and 1.3B, one at 3B, and within 0.1 GB the same for LLaMA and
    BitNet."""
    rows = {(r["model"], r["size"]): r for r in memory_table.quick()["rows"]}
    for r in rows.values():
        assert r["weights"] + r["runtime"] == pytest.approx(float(r["printed"])) and 0.4 < r["runtime"] < 1.1
        assert not r["agrees"]
    of_weights = rows["BitNet b1.58", "3.9B"]["ratio_of_weights"]
    assert f"{of_weights:.2f}" == "4.64", "6.85 GB of LLaMA 3B over 1.48"
    for size in ("700M", "1.3B", "3B"):
        assert rows["LLaMA", size]["runtime"] == pytest.approx(rows["BitNet b1.58", size]["runtime"], abs=0.1)


def test_memory_ratios_of_weights_grow_with_the_size_as_the_printed_ones_do_and_are_above_them():
    ratios = memory_ratios.quick()["ratios"]
    for key in ("printed", "weights"):
        assert [float(r[key]) for r in ratios] == sorted(float(r[key]) for r in ratios)
    assert all(r["weights"] > float(r["printed"]) for r in ratios)
    *_, last = memory_ratios.in_words({"ratios": ratios})
    assert last.endswith("1.62 times as large at 1.3B, 1.06 times at 70B."), "4.74 / 2.93 and 7.59 / 7.16"


def test_b1s_table_5_has_12_d_squared_weights_a_layer():
    """125M: 12 layers of 12 * 768^2 = 84,934,656."""
    rows = {r["size"]: r for r in parameters.quick()["rows"]}
    assert rows["125M"]["projections"] == 84_934_656
    assert rows["125M"]["embedding and head"] == 2 * 16_000 * 768
    assert {size: f"{r['off']:+.1%}" for size, r in rows.items()} == {"125M": "-12.4%", "350M": "-4.4%",
                                                                      "760M": "-4.1%", "1.3B": "-2.0%",
                                                                      "2.7B": "-3.8%",
                                                                        "6.7B": "-1.9%", "13B": "-1.9%",
                                                                      "30B": "-0.6%"}
    assert [size for size, r in rows.items() if r["agrees"]] == ["1.3B", "13B", "30B"]


def test_the_components_of_a_model_are_all_of_it():
    """2B-4T: 2,084,044,800 ternary weights in 521,011,200 bytes, 328,335,360 embeddings in 16 bits, 343,040
    gains in 16, 210 scales in 32."""
    rows = components.quick()["rows"]
    assert rows["BitNet b1.58 2B"]["total"][1] == 521_011_200 + 2 * 328_335_360 + 2 * 440_320 + 4 * 210
    for parts in rows.values():
        for i in range(3):
            assert parts["total"][i] == sum(numbers[i] for name, numbers in parts.items()
                                            if name not in ("total", "KV cache, a token"))


def test_the_size_equivalences_hold_in_memory_bytes_read_and_energy_and_not_in_latency_measured_here():
    for r in equivalences.quick()["rows"]:
        assert all(r["of_ternary"][key] < r["of_float16"][key]
                   for key in ("memory", "read", "joules")), r["ternary"]
        assert r["of_ternary"]["ms"] > 2 * r["of_float16"]["ms"]


def test_an_equivalence_counts_a_cache_of_8_bits_and_of_16_and_every_layer():
    """13B beside 3B: 512 tokens of 416,000 bytes (8 bits), and of 332,800 (16 bits); 40 layers, and 26, of
    the milliseconds that were measured."""
    r, times = equivalences.quick()["rows"][0], {row["size"]: row["decode"]["ms"]
                                                 for row in results.load("latency")["result"]["rows"]}
    assert r["of_ternary"]["memory"] == weight_bytes("13B")[0] + 512 * 416_000
    assert r["of_float16"]["memory"] == weight_bytes("3B")[1] + 512 * 332_800
    assert r["of_ternary"]["ms"] == 40 * times["13B"]["packed"]
    assert r["of_float16"]["ms"] == 26 * times["3B"]["dense float32"]


def test_without_measured_times_the_equivalences_say_what_is_missing(monkeypatch):
    for record, message in ((None, "no data/results/latency.json"),
                            ({"result": {"rows": []}}, "latency.json lacks 13B, 30B, 3B, 70B, 7B")):
        monkeypatch.setattr(results, "load", lambda *_, record=record: record)
        with pytest.raises(UserError, match=message):
            equivalences.quick()


def test_more_than_90_percent_is_saved_at_the_entropy_limit_alone():
    """1 - 1.585 / 16 = 90.1 %; 1.6 bits are 90 % and no more, 2 bits 87.5 %, the whole model 76 %."""
    result = ninety_percent.quick()
    assert [f"{r['saved']:.1%}" for r in result["rows"]] == ["90.1%", "90.0%", "89.5%", "87.5%"]
    assert [r["packing"] for r in result["rows"] if r["saved"] > 0.9 + 1e-12] == ["entropy limit, log2(3)"]
    assert f"{result['whole']['saved']:.1%}" == "75.6%"
    assert [f"{gb:.3f}" for gb in result["report"]["weights"].values()] == ["0.413", "0.417", "0.440",
                                                                            "0.521"]


def test_fewer_bits_in_the_cache_make_room_for_a_longer_context():
    """One layer, two heads of 4 with one of keys and values: 8 numbers a token; 16 bytes, 8 + 2 * 2 for the
    scales, 4 + 4."""
    shape = Shape(n_layers=1, d=8, d_attention=8, d_kv=4, d_ffn=8, n_heads=2, vocab=10)
    assert [cache_bytes(shape, bits) for bits in (16, 8, 4)] == [16, 12, 8]
    rows = contexts.quick()["rows"]
    for at in range(0, len(rows), 3):
        by_bits = [r["ternary"] for r in rows[at:at + 3]]
        assert 1.9 * by_bits[0] < by_bits[1] < 2 * by_bits[0]
        assert 3.8 * by_bits[0] < by_bits[2] < 4 * by_bits[0]
        assert all(r["float16"] <= r["ternary"] for r in rows[at:at + 3])


def test_a_mixture_of_experts_fits_on_one_device_and_sends_half():
    """46.7e9 parameters, Mixtral 8x7B's published number, of which 12.9e9 work for a token."""
    result = experts.quick()
    assert f"{result['parameters'] / 1e9:.1f}" == "46.7" and f"{result['active'] / 1e9:.1f}" == "12.9"
    assert result["devices"] == {"24 GB": {"ternary": 1, "float16": 4}, "80 GB": {"ternary": 1, "float16": 2}}
    assert result["sent"] == {"ternary": 2 * (4096 + 2), "float16": 2 * 2 * 4096}


def test_ternary_weights_make_room_for_a_larger_batch_and_the_printed_batches_lie_between_two_caches():
    result = largest_batch.quick()
    assert all(r["BitNet b1.58"] > 6 * r["LLaMA"] for r in result["rows"])
    assert [(r["LLaMA"], r["BitNet b1.58"]) for r in result["rows"]] == [(131, 845), (131, 1664), (2, 103),
                                                                         (2, 204)]
    assert result["printed"] == {"LLaMA": 16, "BitNet b1.58": 176}


def test_the_printed_batches_solved_for_a_sequence_and_the_overhead():
    """10 GB: weights of 4 and 2 leave 6 = o + 1 s and 8 = o + 3 s: s = 1, o = 5. With 64 heads 70B would
    have less than no overhead."""
    r = {"heads": 8, "ternary": 2e9, "float16": 4e9}
    solved = largest_batch.solved({"LLaMA": 1, "BitNet b1.58": 3}, r)
    assert solved == {"heads": 8, "sequence": 1e9, "overhead": largest_batch.BUDGET - 5e9}
    assert [f"{s['sequence'] / 1e9:.2f} {s['overhead'] / 1e9:.1f}"
            for s in largest_batch.quick()["solved"]] == ["0.75 10.1", "0.85 -10.4"]
