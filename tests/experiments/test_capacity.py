"""Batches, contexts and devices, counted, against the papers' numbers."""
from minibitnet.experiments import capacity
from minibitnet.measure.costs import Shape, cache_bytes


def test_fewer_bits_in_the_cache_make_room_for_a_longer_context():
    """One layer, two heads of 4 with one of keys and values: 8 numbers a token; 16 bytes, 8 + 2 * 2 for the
    scales, 4 + 4."""
    shape = Shape(n_layers=1, d=8, d_attention=8, d_kv=4, d_ffn=8, n_heads=2, vocab=10)
    assert [cache_bytes(shape, bits) for bits in (16, 8, 4)] == [16, 12, 8]
    rows = capacity.contexts()["rows"]
    for at in range(0, len(rows), 3):
        by_bits = [r["ternary"] for r in rows[at:at + 3]]
        assert 1.9 * by_bits[0] < by_bits[1] < 2 * by_bits[0]
        assert 3.8 * by_bits[0] < by_bits[2] < 4 * by_bits[0]
        assert all(r["float16"] <= r["ternary"] for r in rows[at:at + 3])


def test_a_mixture_of_experts_fits_on_one_device_and_sends_half():
    """46.7e9 parameters, Mixtral 8x7B's published number, of which 12.9e9 work for a token."""
    result = capacity.experts()
    assert f"{result['parameters'] / 1e9:.1f}" == "46.7" and f"{result['active'] / 1e9:.1f}" == "12.9"
    assert result["devices"] == {"24 GB": {"ternary": 1, "float16": 4}, "80 GB": {"ternary": 1, "float16": 2}}
    assert result["sent"] == {"ternary": 2 * (4096 + 2), "float16": 2 * 2 * 4096}


def test_ternary_weights_make_room_for_a_larger_batch_and_the_printed_batches_lie_between_two_caches():
    result = capacity.largest_batch()
    batches = [(r["LLaMA"], r["BitNet b1.58"]) for r in result["rows"]]
    assert all(r["BitNet b1.58"] > 6 * r["LLaMA"] for r in result["rows"])
    assert batches == [(131, 845), (131, 1664), (2, 103), (2, 204)]
    assert result["printed"] == {"LLaMA": 16, "BitNet b1.58": 176}


def test_the_printed_batches_solved_for_a_sequence_and_the_overhead():
    """10 GB: weights of 4 and 2 leave 6 = o + 1 s and 8 = o + 3 s: s = 1, o = 5. With 64 heads 70B would
    have less than no overhead."""
    r = {"heads": 8, "ternary": 2e9, "float16": 4e9}
    solved = capacity.solved({"LLaMA": 1, "BitNet b1.58": 3}, r)
    assert solved == {"heads": 8, "sequence": 1e9, "overhead": capacity.CARDS - 5e9}
    in_gb = [f"{s['sequence'] / 1e9:.2f} {s['overhead'] / 1e9:.1f}"
             for s in capacity.largest_batch()["solved"]]
    assert in_gb == ["0.75 10.1", "0.85 -10.4"]
