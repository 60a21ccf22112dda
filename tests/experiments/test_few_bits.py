"""4-bit activations in miniature: what is compared with what, and the words."""
import json

from minibitnet.experiments import few_bits
from minibitnet.experiments.lines import as_text
from minibitnet.experiments.paper import table
from minibitnet.variants import VARIANTS


def test_each_way_differs_from_its_base_in_its_bits_alone():
    for way in few_bits.WAYS.values():
        if way.base:
            base = few_bits.WAYS[way.base]
            ours, theirs = ((VARIANTS | few_bits.OWN_VARIANTS)[arm] for arm in (way.arm, base.arm))
            assert base.activation == way.activation and not base.base
            assert [reads.rotated for reads in ours.reads] == [reads.rotated for reads in theirs.reads]
            assert all(reads.bits == 8 for reads in theirs.reads) and ours.inputs.bits == 4
        assert not way.paper or (few_bits.PRINTED, way.paper) in table("v2_table_1").rows


def test_the_comparisons_variants_are_put_away():
    seen = []

    def looking(ways):
        for item in list(ways)[:1]:
            seen.append(set(few_bits.OWN_VARIANTS) <= set(VARIANTS))
            yield item
    rows = few_bits.few_bits(seeds=(), progress=looking)["rows"]
    assert seen == [True] and not set(few_bits.OWN_VARIANTS) & set(VARIANTS) and rows[0]["excess"] == []


def test_the_words():
    costs = {"8 bits": 5.0, "everywhere, last fifth": 25.0, "hybrid, last fifth": 8.0,
             "Hadamard, last fifth": 7.5}
    rows = [{"what": what, "arm": way.arm, "excess": [costs.get(what, 7.0)]}
            for what, way in few_bits.WAYS.items()]
    result = {"config": {"width": 32, "steps": 150, "seeds": [0]}, "rows": rows}

    def said():
        return list(map(as_text, few_bits.few_bits_in_words(json.loads(json.dumps(result)))))
    first, *rest = said()
    assert "everywhere +20.0, hybrid +1.0, Hadamard +0.5 nats a story" in first and "(differs)" not in first
    assert any(line.startswith("Hadamard, last fifth: perplexity 13.78 | 7.5 nats a story (+0.5 against "
                               "Hadamard, 8 bits)") for line in rest)
    rows[6]["excess"] = [9.0]
    assert "(differs)" in said()[0]
