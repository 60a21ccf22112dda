"""Ranks that are processes of MPI, on one machine or on many:  mpiexec -n 8 python -m minibitnet.train ...

The only file that imports mpi4py (the extra ``mpi``). Every rank adds up an equal part of the parameters
(``own``), of which it is sent what the other ranks' shards gave, and then sends the sum to all. So a step
sends about two gradients a rank, however many ranks there are. What is sent are arrays as they are in memory;
nothing is pickled.
"""
import hashlib
import os
from pathlib import Path

import numpy as np

from .errors import UserError
from .nn.ranks import ALONE, Alone, added, halves, pieces, tree

# what the launchers of MPI set: MPICH and Intel (PMI), Open MPI, anything with PMIx, Slurm's srun with either
STARTED = "PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"


def ranks_of_this_process():
    """The Ranks that this process is one of, where mpiexec or its like started it, or ALONE."""
    if not any(name in os.environ for name in STARTED):
        return ALONE
    try:
        from mpi4py import MPI
    except ImportError:
        raise UserError("this process was started by MPI, and mpi4py is not installed: expected it, or each "
                        "process would make a run of its own (pip install 'minibitnet[mpi]')") from None
    comm = MPI.COMM_WORLD
    return Ranks(comm) if comm.size > 1 else ALONE


class Ranks(Alone):
    """The processes of a communicator. ``sharded``: each keeps the optimizer's state of its own part of the
    parameters alone, steps that, and sends the parameters in place of the gradients."""

    def __init__(self, comm, sharded=False):
        self.comm, self.rank, self.size, self.sharded = comm, comm.rank, comm.size, sharded
        self.sent = 0                            # bytes of gradients and parameters
        self.owner = {}                          # {name: rank}, from the first gradients on

    def part(self, n, rank):
        """First and last shard of a rank, the last one excluded."""
        return rank * n // self.size, (rank + 1) * n // self.size

    def mine(self, n):
        return range(*self.part(n, self.rank))

    def own(self, shapes):
        """Say who adds up what: {name: shape} of all parameters, the largest to whom has the least."""
        sizes, load = {name: int(np.prod(shape)) for name, shape in shapes.items()}, [0] * self.size
        for name in sorted(sizes, key=sizes.get, reverse=True):
            self.owner[name] = least = load.index(min(load))
            load[least] += sizes[name]
        self.shapes = {name: shapes[name] for name in sorted(shapes, key=self.owner.get)}
        counts = np.bincount([self.owner[name] for name in sizes], list(sizes.values()), self.size)
        self.counts = counts.astype(int).tolist()
        self.starts = [0, *np.cumsum(self.counts).tolist()]

    # ---- the sum over shards

    def total(self, n, parts):
        parts, found = iter(parts), []
        of_all = [pieces(n, *self.part(n, rank)) for rank in range(self.size)]
        for piece in of_all[self.rank]:
            found.append(tree(*piece, lambda a: next(parts), added))
        places = [piece for of_rank in of_all for piece in of_rank]
        losses = dict(zip(places, sum(self.numbers([loss for loss, _ in found]), [])))
        blocks = dict(zip(places, self.exchanged([self.flat(g) for _, g in found], list(map(len, of_all)))))
        return (joined(0, n, losses, lambda x, y: x + y),
                self.split(joined(0, n, blocks, lambda x, y: np.add(x, y, out=x))))

    def flat(self, arrays):
        """{name: array} of all -> one array, owner by owner."""
        return np.concatenate([arrays[name].reshape(-1) for name in self.shapes])

    def exchanged(self, flat, counts):
        """This rank's pieces, flat -> every rank's pieces of the part that this rank adds up, in order.
        counts: how many pieces each rank has."""
        own = self.counts[self.rank]
        send = np.concatenate([piece[self.starts[q]:self.starts[q + 1]]
                               for q in range(self.size) for piece in flat] or [np.zeros(0, np.float32)])
        received = np.empty((sum(counts), own), np.float32)
        self.comm.Alltoallv([send, [len(flat) * n for n in self.counts]],
                            [received, [count * own for count in counts]])
        self.sent += send.nbytes - 4 * len(flat) * own
        return received

    def split(self, block):
        """The sum of this rank's part -> {name: gradient}, of all parameters or of those that it holds."""
        if self.sharded:
            names = [name for name in self.shapes if self.owner[name] == self.rank]
            return named(block, {name: self.shapes[name] for name in names})
        return named(self.all_of(block), self.shapes)

    def all_of(self, block):
        """Every rank's part, one behind the other."""
        whole = np.empty(self.starts[-1], np.float32)
        self.comm.Allgatherv(np.ascontiguousarray(block), [whole, self.counts])
        self.sent += 4 * self.counts[self.rank] * (self.size - 1)
        return whole

    # ---- and what else must be the same

    def spread(self, arrays):
        if not self.sharded:
            return
        own = [arrays[name].reshape(-1) for name in self.shapes if self.owner[name] == self.rank]
        whole = named(self.all_of(np.concatenate(own or [np.zeros(0, np.float32)])), self.shapes)
        for name, a in whole.items():
            if self.owner[name] != self.rank:
                arrays[name][...] = a

    def gathered(self, values):
        """{name: float} of what this rank holds -> of all."""
        if not self.sharded:
            return values
        names = [[name for name in self.shapes if self.owner[name] == rank] for rank in range(self.size)]
        numbers = self.numbers([values[name] for name in names[self.rank]])
        return {name: x for of_rank, xs in zip(names, numbers) for name, x in zip(of_rank, xs)}

    def numbers(self, values):
        """[float] of this rank -> those of every rank, a list each."""
        counts = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array([len(values)], np.int64), counts)
        found = np.empty(int(counts.sum()))
        self.comm.Allgatherv(np.array(values, np.float64), [found, counts.tolist()])
        return [part.tolist() for part in np.split(found, np.cumsum(counts)[:-1])]

    def any(self, flag):
        flags = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array([flag or 0], np.int64), flags)
        return int(flags.max())

    def told(self, text):
        """A text of each rank -> (the first rank whose text is not empty, or -1; that text)."""
        data = np.frombuffer(text.encode(), np.uint8)
        lengths = np.empty(self.size, np.int64)
        self.comm.Allgather(np.array([len(data)], np.int64), lengths)
        if not lengths.any():
            return -1, ""
        teller = int(np.flatnonzero(lengths)[0])
        data = data.copy() if self.rank == teller else np.empty(lengths[teller], np.uint8)
        self.comm.Bcast(data, root=teller)
        return teller, data.tobytes().decode()

    def same(self, arrays):
        """{name: array}: rank 0's, on every rank."""
        for a in arrays.values():
            self.comm.Bcast(a)

    def processors(self, available):
        """Of those that this process may use, as many as there are for each rank of the same machine."""
        from mpi4py import MPI
        return max(1, available // self.comm.Split_type(MPI.COMM_TYPE_SHARED).size)

    def abort(self, code):
        """End all ranks, those that wait for this one too."""
        self.comm.Abort(code)


def joined(a, b, nodes, add):
    """node(a, b) of the tree, of those nodes that are there."""
    if (a, b) in nodes:
        return nodes[a, b]
    left, right = halves(a, b)
    return add(joined(*left, nodes, add), joined(*right, nodes, add))


def named(flat, shapes):
    """One array -> {name: view of it}, in this order."""
    found, place = {}, 0
    for name, shape in shapes.items():
        n = int(np.prod(shape))
        found[name], place = flat[place:place + n].reshape(shape), place + n
    return found


def source_sha256():
    """Of the package's own files: ranks of different versions would train different models."""
    digest, root = hashlib.sha256(), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
