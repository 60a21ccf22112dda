"""How fast several machines would train one model, on paper: bytes, latency, bandwidth -> efficiency.

A step of one machine takes T1 = A + S t: A for AdamW, which every machine repeats, and t for each of the S
shards of its batch. Of n machines the busiest has ceil(S / n) shards, and then two messages go from each to
each other one, a part of the gradients and a part of their sum (``mpi.py``):

    T(n) = A + ceil(S / n) t + 2 (n - 1) latency + bytes(n) / bandwidth          efficiency = T1 / (n T(n))

    bytes(n) = 4 P (k + 1) (n - 1) / n       P parameters, in float32; k: the nodes of the tree of shards that
                                             the busiest machine sends, 1 where n and S are powers of two

No network is that good: messages meet, and machines wait for the slowest.
"""
from typing import NamedTuple

from ..nn.ranks import pieces


class Network(NamedTuple):
    """What a message costs: seconds, and bytes a second."""
    name: str
    latency: float
    bandwidth: float


# round numbers, as such networks are sold; nothing of it was measured
NETWORKS = (Network("Ethernet, 1 Gbit/s", 50e-6, 1e9 / 8), Network("Ethernet, 10 Gbit/s", 30e-6, 1e10 / 8),
            Network("InfiniBand, 100 Gbit/s", 2e-6, 1e11 / 8))


def bytes_sent(parameters, shards, machines, bits=32):
    """By the machine that sends most, in a step."""
    nodes = max(len(pieces(shards, rank * shards // machines, (rank + 1) * shards // machines))
                for rank in range(machines))
    return bits / 8 * parameters * (nodes + 1) * (machines - 1) / machines


def efficiency(parameters, shards, machines, network, *, fixed, each, bits=32):
    """How much of the machines' time trains. fixed, each: A and t, seconds; bits: of what is sent."""
    busiest = -(-shards // machines)
    communication = (2 * (machines - 1) * network.latency
                     + bytes_sent(parameters, shards, machines, bits) / network.bandwidth)
    return (fixed + shards * each) / (machines * (fixed + busiest * each + communication))
