"""How fast several machines would train one model, on paper: bytes, latency, bandwidth -> efficiency.

A step of one machine takes T1 = A + S t: A for AdamW, which every machine repeats, and t for each of the S
shards of its batch. Of n machines the busiest has ceil(S / n) shards, and then two messages go from each to
each other one, a part of the gradients and a part of their sum (``mpi.py``):

    T(n) = A + ceil(S / n) t + 2 (n - 1) latency + bytes(n) / bandwidth          efficiency = T1 / (n T(n))

    bytes(n) = 4 (k (P - p) + (n - 1) p)     P parameters, in float32, p of which the machine adds up, about
                                             P / n, but whole matrices; k: the nodes of the tree of shards
                                             that it sends, 1 where n and S are powers of two; of the machine
                                             that sends most

No network is that good: messages meet, and machines wait for the slowest; to add up what came, and a few
messages of some bytes, are left out.
"""
from typing import NamedTuple

from ..nn.ranks import dealt, pieces


class Network(NamedTuple):
    """What a message costs: seconds, and bytes a second."""
    name: str
    latency: float
    bandwidth: float


# round numbers, as such networks are sold; nothing of it was measured
NETWORKS = (Network("Ethernet, 1 Gbit/s", 50e-6, 1e9 / 8), Network("Ethernet, 10 Gbit/s", 30e-6, 1e10 / 8),
            Network("InfiniBand, 100 Gbit/s", 2e-6, 1e11 / 8))


def bytes_sent(sizes, shards, machines, bits=32):
    """By the machine that sends most, in a step. sizes: {name: numbers} of the parameters."""
    nodes = [len(pieces(shards, rank * shards // machines, (rank + 1) * shards // machines))
             for rank in range(machines)]
    P, (_, owned) = sum(sizes.values()), dealt(sizes, machines)
    return bits / 8 * max(k * (P - p) + (machines - 1) * p for k, p in zip(nodes, owned, strict=True))


def efficiency(sizes, shards, machines, network, *, fixed, each, bits=32):
    """How much of the machines' time trains. fixed, each: A and t, seconds; bits: of what is sent."""
    busiest = -(-shards // machines)
    communication = (2 * (machines - 1) * network.latency
                     + bytes_sent(sizes, shards, machines, bits) / network.bandwidth)
    return (fixed + shards * each) / (machines * (fixed + busiest * each + communication))
