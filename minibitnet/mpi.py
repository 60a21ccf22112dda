"""Ranks that are processes of MPI, on one machine or on many:  mpiexec -n 8 python -m minibitnet.train ...

The only file that imports mpi4py (the extra ``mpi``). Every rank adds up an equal part of the parameters
(``own``; whole parameters, so of many ranks some have more than others), of which it is sent what the other
ranks' shards gave, and then sends the sum to all: about two gradients a rank and step where shards and ranks
are powers of two, more where its shards are several nodes of the tree (``measure/cluster.py`` counts them).
What is sent are arrays as they are in memory; nothing is pickled.
"""
import hashlib
import importlib.util
import itertools
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np

from .errors import UserError
from .nn.ranks import ALONE, Alone, added, dealt, halves, pieces, tree

# what the launchers of MPI set: MPICH and Intel (PMI), Open MPI, anything with PMIx, Slurm's srun with either
STARTED = "PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"


def started():
    """Did mpiexec or its like start this process?"""
    return any(name in os.environ for name in STARTED)


def launcher():
    """The path of mpiexec: beside this Python, where pip puts it, or on the PATH."""
    places = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    found = shutil.which("mpiexec", path=os.pathsep.join(places))
    if not (found and importlib.util.find_spec("mpi4py")):
        raise UserError("several ranks need mpi4py and mpiexec: expected both (pip install mpi4py mpich)")
    return found


def ranks_of_this_process():
    """The Ranks that this process is one of, where mpiexec or its like started it, or ALONE."""
    if not started():
        return ALONE
    try:
        from mpi4py import MPI
    except ImportError:
        raise UserError("this process was started by MPI, and mpi4py is not installed: expected it, or each "
                        "process would make a run of its own (pip install 'minibitnet[mpi]')") from None
    comm = MPI.COMM_WORLD
    return Ranks(comm) if comm.size > 1 else ALONE


class Ranks(Alone):
    """The processes of a communicator. After ``share_optimizer`` each keeps the optimizer's state of its own
    part of the parameters alone, steps that, and sends the parameters in place of the gradients."""

    def __init__(self, comm):
        self.comm, self.rank, self.size, self.sharded = comm, comm.rank, comm.size, False
        self.sent = 0                            # bytes of gradients and parameters

    def share_optimizer(self):
        self.sharded = True

    def part(self, n, rank):
        """First and last shard of a rank, the last one excluded."""
        return rank * n // self.size, (rank + 1) * n // self.size

    def mine(self, n):
        return range(*self.part(n, self.rank))

    def own(self, shapes):
        """Say who adds up what: the largest parameter to whom has the least."""
        self.order = list(shapes)
        self.names, self.counts = dealt({name: math.prod(shape) for name, shape in shapes.items()}, self.size)
        self.shapes = {name: shapes[name] for names in self.names for name in names}     # rank by rank
        self.starts = [0, *itertools.accumulate(self.counts)]

    # ---- the sum over shards

    def total(self, n, parts):
        parts, found = iter(parts), []
        of_all = [pieces(n, *self.part(n, rank)) for rank in range(self.size)]
        for piece in of_all[self.rank]:
            found.append(tree(*piece, lambda a: next(parts), added))
        places = [piece for of_rank in of_all for piece in of_rank]
        losses = dict(zip(places, itertools.chain(*self.numbers([loss for loss, _ in found]))))
        blocks = dict(zip(places, self.exchanged([self.flat(g) for _, g in found], list(map(len, of_all)))))
        return (joined(0, n, losses, lambda x, y: x + y),
                self.split(joined(0, n, blocks, lambda x, y: np.add(x, y, out=x))))

    def flat(self, arrays):
        """{name: array} of all -> one array, owner by owner."""
        return flattened(arrays, self.shapes)

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
            return named(block, {name: self.shapes[name] for name in self.names[self.rank]})
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
        whole = named(self.all_of(flattened(arrays, self.names[self.rank])), self.shapes)
        for name in self.shapes.keys() - self.names[self.rank]:
            arrays[name][...] = whole[name]

    def kept(self, arrays):
        return {name: arrays[name] for name in self.names[self.rank]} if self.sharded else arrays

    def whole(self, arrays):
        if not self.sharded:
            return arrays
        of_all = np.empty(self.starts[-1] if self.rank == 0 else 0, np.float32)
        self.comm.Gatherv(flattened(arrays, self.names[self.rank]), [of_all, self.counts])
        found = named(of_all, self.shapes) if self.rank == 0 else arrays
        return {name: found[name] for name in self.order if name in found}

    def gathered(self, values):
        if not self.sharded:
            return values
        numbers = self.numbers([values[name] for name in self.names[self.rank]])
        return dict(zip(self.shapes, itertools.chain(*numbers)))

    def numbers(self, values):
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
        for a in arrays.values():
            self.comm.Bcast(a)

    def processors(self, available):
        """Of those that this process may use, as many as there are for each rank of the same machine."""
        from mpi4py import MPI
        machine = self.comm.Split_type(MPI.COMM_TYPE_SHARED)
        if not hasattr(os, "sched_getaffinity"):
            return max(1, available // machine.size)
        mine = np.zeros(4096, np.int64)          # a launcher may have bound each rank to some of its own
        mine[list(os.sched_getaffinity(0))] = 1
        of_all = np.empty((machine.size, len(mine)), np.int64)
        machine.Allgather(mine, of_all)
        return max(1, round(float((mine / np.maximum(of_all.sum(0), 1)).sum())))

    def abort(self, code):
        """End all ranks, those that wait for this one too."""
        self.comm.Abort(code)


def joined(a, b, nodes, add):
    """node(a, b) of the tree, of those nodes that are there."""
    if (a, b) in nodes:
        return nodes[a, b]
    left, right = halves(a, b)
    return add(joined(*left, nodes, add), joined(*right, nodes, add))


def flattened(arrays, names):
    """Those of these names, in this order -> one array."""
    return np.concatenate([np.zeros(0, np.float32), *(arrays[name].reshape(-1) for name in names)])


def named(flat, shapes):
    """One array -> {name: view of it}, in this order."""
    found, place = {}, 0
    for name, shape in shapes.items():
        n = math.prod(shape)
        found[name], place = flat[place:place + n].reshape(shape), place + n
    return found


def source_sha256():
    """Of the package's own files: ranks of different versions would train different models."""
    digest, root = hashlib.sha256(), Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
