"""The miniatures: the same to the last digit, and what their words say is what their numbers say."""
import json

from minibitnet.experiments import miniatures
from minibitnet.experiments.lines import as_text
from minibitnet.experiments.miniatures import by_size_in_words, large_rates_in_words, run


def test_a_run_is_a_function_of_its_seed():
    first, again, other = (run("ternary", 16, 0.01, 12, seed) for seed in (3, 3, 4))
    assert first == again != other and len(first["losses"]) == 12
    assert first["losses"][-1] < first["losses"][0] and first["excess"] > 0


def test_a_loss_that_is_no_number_ends_a_run():
    assert run("float", 16, 1e9, 12, clip=0.0, warmup=1)["excess"] is None


def test_the_words_of_sizes():
    rows = [{"d": 16, "ternary": [20.0, 22.0], "float": [10.0, 12.0]},
            {"d": 64, "ternary": [1.5, 1.5], "float": [1.0, 1.0]}]
    result = {"config": {"steps": 150, "seeds": [0, 1]}, "rows": rows}
    said = list(map(as_text, by_size_in_words(json.loads(json.dumps(result)))))
    assert "worse by 10.0 ± 0.0 nats a story at width 16, by 0.5 ± 0.0 at width 64 (differs)" in said[0]
    assert "width 16 | 20.00, 22.00 nats a story above the floor; float 10.00, 12.00" in said[1]
    for unclear in ([0.5, 0.5], [1.0, 2.2]):                 # below; above by 0.6 ± 7.6
        rows[1]["ternary"] = unclear
        assert "(differs)" not in as_text(next(by_size_in_words(result)))
    alone = {"config": {"steps": 150, "seeds": [0]}, "rows": [{"d": 16, "ternary": [2.0], "float": [1.0]}]}
    assert "worse by 1.0 nats a story at width 16, by 1.0 at width 16 (differs)" in as_text(
        next(by_size_in_words(alone)))


def test_the_words_of_rates():
    def falling(to):
        return [3 + (to - 3) * i / 17 for i in range(18)] + [to, to]
    rows = [{"rate": 0.01, "ternary": [falling(0.5)], "float": [falling(0.3)]},
            {"rate": 0.1, "ternary": [falling(0.4)], "float": [[*falling(0.6)[:18], 2.0, 2.0]]}]
    result = {"config": {"width": 32, "steps": 80, "seeds": [0]}, "rows": rows}
    said = list(map(as_text, large_rates_in_words(result)))
    assert "best rates 0.1 (ternary), 0.01 (float); ternary ends below float at 0.1 |" in said[0]
    assert "training loss at the end: ternary 0.40; float 2.00 (rises)" in said[2]


def test_stretches_are_means():
    assert miniatures.in_stretches([1.0, 3.0, 5.0, 7.0], n=2) == [2.0, 6.0]
    assert miniatures.in_stretches([1.0, 3.0], n=20) == [1.0, 3.0]
