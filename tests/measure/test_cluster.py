"""Several machines on paper: by pencil, and the bytes against those that ranks really send."""
import numpy as np
import pytest

from minibitnet.experiments import ranks_page
from minibitnet.measure.cluster import Network, bytes_sent, efficiency

SIZES = {str(k): 1e6 / 6 for k in range(6)}     # a million in six parts, of 1, 2, 3 machines as many each
NETWORK = Network("a pencil's", latency=0.5, bandwidth=1e6)


def test_bytes_by_pencil():
    """A million parameters, 4 MB, and 4 shards. Of two machines each has one node of the tree: it sends half
    of it, and half of the sum: 4 MB. Of three the last has shards 2 and 3, a node; the second shard 1, the
    first shard 0: a node each, two thirds of which it sends twice."""
    assert bytes_sent(SIZES, 4, 1) == 0
    assert bytes_sent(SIZES, 4, 2) == pytest.approx(4e6)
    assert bytes_sent(SIZES, 4, 3) == pytest.approx(2 * 4e6 * 2 / 3)
    assert bytes_sent(SIZES, 4, 2, bits=8) == pytest.approx(1e6)


def test_who_has_a_large_matrix_sends_more():
    """Of two machines the first adds up a matrix of 3 of the 4 numbers: it sends 1 and, of the sum, 3."""
    assert bytes_sent({"a": 3, "b": 1}, 2, 2) == 4 * (1 + 3)
    assert bytes_sent({"a": 4}, 4, 4) == 4 * 3 * 4, "all of the sum to three"


def test_a_machine_with_shards_across_a_node_sends_more():
    """Of 8 shards the second of three machines has 2, 3 and 4: the node (2, 4) and the shard 4 alone."""
    assert bytes_sent(SIZES, 8, 3) == pytest.approx(3 * 4e6 * 2 / 3)


def test_efficiency_by_pencil():
    """1 s that does not shrink and 4 shards of 2 s: alone 9 s. Two machines: 1 + 4 s, two messages of half a
    second, 4 MB at a million a second: 10 s, and twice 10 s for what one does in 9."""
    assert efficiency(SIZES, 4, 1, NETWORK, fixed=1, each=2) == 1
    assert efficiency(SIZES, 4, 2, NETWORK, fixed=1, each=2) == pytest.approx(9 / (2 * (1 + 4 + 1 + 4)))
    assert efficiency(SIZES, 4, 8, NETWORK._replace(latency=0, bandwidth=np.inf), fixed=0, each=2) == 0.5, \
        "half of the machines have nothing to do"


def test_the_record_keeps_every_promise():
    """The same bytes in every case, nobody left after ten seconds, and 20 kills at least."""
    found = ranks_page.record(ranks_page.SAME)["result"]
    assert found["config"]["ranks"] == [1, 2, 3, 5, 8] and found["config"]["steps"] == 100
    for arm in ("ternary", "binary", "float"):
        assert len(found[arm]["runs"]) == 20 and all(row[-1] for row in found[arm]["runs"])
    assert found["interrupted"] == {"lines": 1, "same": True} and found["network"]["same"]
    assert len(found["killed"]) >= 20 and all(one["same"] and one["ended"] < 10 for one in found["killed"])
