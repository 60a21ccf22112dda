"""What the words say of engines that were made up."""
from minibitnet.experiments.edge import FLOAT, INTEGER, PACKED, edge_in_words
from minibitnet.experiments.lines import as_text


def test_the_words_of_engines():
    def engine(speed, weights, peak):
        return {"decode_tokens_per_s": speed, "weights_mb": weights, "peak_mb": peak}
    row = {"shape": "15m", "context": 256, PACKED: engine(60.4, 75.4, 164), FLOAT: engine(55.0, 97.7, 321),
           INTEGER: engine(39.0, 38.6, 146)}
    first, *rest = map(as_text, edge_in_words({"rows": [row]}))
    assert "15m: 75.4 MB of weights and 60 tokens/s; in floats 97.7 MB and 55 tokens/s" in first
    assert "(differs)" not in first
    assert "15m, integer engine | 39 tokens/s, 38.6 MB of weights, 146 MB of memory in all" in rest[2]
    row[PACKED] = engine(60.4, 75.4, 400)
    assert "(differs)" in as_text(next(edge_in_words({"rows": [row]})))
