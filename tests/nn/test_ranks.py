"""One tree over the shards, whoever computes them; and ranks that are threads of this process, whose messages
go through a list."""
import threading
from dataclasses import replace

import numpy as np
import pytest

from minibitnet.mpi import Ranks, joined
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.nn.optim import AdamW
from minibitnet.nn.ranks import ALONE, pieces, tree
from minibitnet.nn.training import loss_and_gradients, step
from minibitnet.threads import pool_of
from minibitnet.variants import VARIANTS

C = ModelConfig(vocab_size=13, d_model=16, n_layers=1, n_heads=2, d_ffn=24, context=8)


def in_words(n):
    return tree(0, n, str, lambda a, b: f"({a}+{b})")


def test_the_tree_by_pencil():
    assert [in_words(n) for n in (1, 2, 3, 4)] == ["0", "(0+1)", "((0+1)+2)", "((0+1)+(2+3))"]
    assert in_words(5) == "(((0+1)+2)+(3+4))"
    assert in_words(8) == "(((0+1)+(2+3))+((4+5)+(6+7)))"


def test_the_leaves_are_asked_for_in_order():
    seen = []
    tree(0, 11, seen.append, lambda a, b: None)
    assert seen == list(range(11))


def test_pieces_by_pencil():
    """Eight shards of three ranks: 0 1 | 2 3 4 | 5 6 7."""
    assert [pieces(8, *part) for part in ((0, 2), (2, 5), (5, 8))] == [
        [(0, 2)], [(2, 4), (4, 5)], [(5, 6), (6, 8)]]
    assert pieces(8, 0, 8) == [(0, 8)] and pieces(8, 3, 3) == []


@pytest.mark.parametrize("n", range(1, 20))
def test_of_whatever_pieces_the_sum_is_the_same_tree(n):
    for size in range(1, 12):
        found = [pieces(n, r * n // size, (r + 1) * n // size) for r in range(size)]
        assert [k for of_rank in found for a, b in of_rank for k in range(a, b)] == list(range(n))
        nodes = {(a, b): tree(a, b, str, lambda x, y: f"({x}+{y})") for of_rank in found for a, b in of_rank}
        assert joined(0, n, nodes, lambda x, y: f"({x}+{y})") == in_words(n)
        if n % size == 0 and (n // size) & (n // size - 1) == 0 and n & (n - 1) == 0:
            assert all(len(of_rank) == 1 for of_rank in found), "whole subtrees are one piece"


# ---- several ranks

class Comm:
    """A communicator of threads: what each sends lies in a list, between two barriers."""

    def __init__(self, rank, size, shared):
        self.rank, self.size, self.shared = rank, size, shared

    def exchange(self, mine):
        self.shared["sent"][self.rank] = mine
        self.shared["barrier"].wait(30)
        found = list(self.shared["sent"])
        self.shared["barrier"].wait(30)
        return found

    def Allgather(self, send, receive):
        receive[:] = np.concatenate(self.exchange(send.copy()))

    def Allgatherv(self, send, receive):
        found = self.exchange(send.copy())
        assert [len(part) for part in found] == list(receive[1])
        receive[0].reshape(-1)[:] = np.concatenate(found)

    def Alltoallv(self, send, receive):
        data, counts = send
        ends = np.cumsum(counts)
        assert ends[-1] == data.size
        found = self.exchange([part.copy() for part in np.split(data, ends[:-1])])
        mine = [parts[self.rank] for parts in found]
        assert [len(part) for part in mine] == list(receive[1])
        receive[0].reshape(-1)[:] = np.concatenate(mine)

    def Gatherv(self, send, receive):
        found = self.exchange(send.copy())
        if self.rank == 0:
            assert [len(part) for part in found] == list(receive[1])
            receive[0][:] = np.concatenate(found)

    def Bcast(self, data, root=0):
        data[...] = self.exchange(data.copy())[root]


def on_ranks(size, work, sharded=False):
    """work(ranks) on each of so many ranks -> what they give."""
    shared, found = {"sent": [None] * size, "barrier": threading.Barrier(size)}, [None] * size

    def run(rank):
        try:
            ranks = Ranks(Comm(rank, size, shared))
            if sharded:
                ranks.share_optimizer()
            found[rank] = work(ranks)
        except BaseException as e:
            found[rank] = e
            shared["barrier"].abort()
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in found:
        if isinstance(result, BaseException):
            raise result
    return found


def trained(ranks, linear, steps=4):
    """A small model after some steps on the same batches, of seven rows -> its numbers."""
    model, rng = Transformer(replace(C, linear=linear)), np.random.default_rng(0)
    optimizer = AdamW(model.parameters())
    ranks.own({name: a.shape for name, a in model.arrays().items()})
    optimizer.m, optimizer.v = ranks.kept(optimizer.m), ranks.kept(optimizer.v)
    quantized, norms = model.quantized(training=True), []
    with pool_of(1) as pool:
        for _ in range(steps):
            batch = rng.integers(0, 13, (2, 7, 8))
            loss, norm, quantized = step(model, quantized, optimizer, batch, pool, lr=0.01, weight_decay=0.1,
                                         clip=0.5, ranks=ranks)
            norms.append((loss, norm))
    held = set(optimizer.m)
    numbers = (model.arrays(), ranks.whole(optimizer.m), ranks.whole(optimizer.v))
    return [{name: a.tobytes() for name, a in of_all.items()} for of_all in numbers], norms, held


@pytest.fixture
def seven_shards(monkeypatch):
    monkeypatch.setattr("minibitnet.nn.training.SHARD_TOKENS", 8)


@pytest.mark.parametrize("linear", [name for name in VARIANTS if name in ("ternary", "binary", "float")])
@pytest.mark.parametrize("sharded", [False, True])
def test_any_number_of_ranks_gives_the_same_bytes(linear, sharded, seven_shards):
    """More ranks than shards too."""
    alone = trained(ALONE, linear)
    for size in (2, 3, 8):
        found = on_ranks(size, lambda ranks: trained(ranks, linear), sharded)
        assert found[0][:2] == alone[:2] and all(norms == alone[1] for _, norms, _ in found)
        assert all(numbers[0] == alone[0][0] for numbers, _, _ in found), "the parameters, on every rank"
        held = [name for _, _, of_rank in found for name in of_rank]
        assert sorted(held) == sorted((1 if sharded else size) * list(alone[2])), "no moment is there twice"


def test_the_sum_is_that_of_the_tree_and_of_no_other_order(seven_shards, rng):
    """In float32 another order gives other bits: so the comparison above can fail."""
    quantized, batch = Transformer(C).quantized(training=True), rng.integers(0, 13, (2, 7, 8))
    with pool_of(1) as pool:
        _, ours = loss_and_gradients(quantized, *batch, pool)
        shards = []
        for i in range(7):
            _, gradients = loss_and_gradients(quantized, *batch[:, i:i + 1], pool)
            shards.append({name: g / np.float32(7) for name, g in gradients.items()})
    name = "layers.0.mlp.up_proj.weight"
    in_a_row = sum((s[name] for s in shards[1:]), shards[0][name])
    assert np.allclose(ours[name], in_a_row, rtol=1e-3, atol=1e-5)
    assert not np.array_equal(ours[name], in_a_row)


def test_what_two_ranks_send_by_pencil(seven_shards):
    """Of seven shards each has two pieces, 0 1 | 2 and 3 | 4 5 6: of both it sends the part that the other
    one adds up, and then its part of the sum: in all 3 numbers a parameter, of 4 bytes."""
    n = C.n_parameters

    def sent(ranks):
        trained(ranks, "ternary", steps=1)
        return ranks.sent
    assert sum(on_ranks(2, sent)) == 3 * 4 * n


def test_what_one_rank_says_all_hear():
    def heard(ranks):
        return ranks.told("" if ranks.rank < 1 else f"rank {ranks.rank} ä"), ranks.any(ranks.rank == 2)
    assert on_ranks(3, heard) == 3 * [((1, "rank 1 ä"), 1)]
    assert on_ranks(2, lambda ranks: (ranks.told(""), ranks.any(0))) == 2 * [((-1, ""), 0)]


def test_numbers_of_all_ranks_come_in_their_order():
    assert on_ranks(3, lambda ranks: ranks.numbers([float(ranks.rank)] * ranks.rank)) == 3 * [
        [[], [1.0], [2.0, 2.0]]]
