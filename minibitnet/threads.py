"""What the process asks of the system: a pool of threads, or the caller alone where the system starts none;
one thread for BLAS; memory that is kept for the next array."""
import ctypes
import functools
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import threadpoolctl


MOST_THREADS = 1024      # of one pool; more are mistyped, and to start a million stops the machine


class Caller:
    """In place of a pool: whoever asks for the work does it."""
    map, size = staticmethod(map), 1

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


class Pool(ThreadPoolExecutor):
    """A pool of ``size`` threads, whose copy, pickled or not, is a pool as large."""

    def __init__(self, size):
        super().__init__(size)
        self.size = size

    def __reduce__(self):
        return pool_of, (self.size,)


def pool_of(threads):
    """A pool of so many threads, started at once. A browser and some sandboxes refuse to start one: then the
    caller does the work. Results do not depend on how many do it."""
    if threads == 1:
        return Caller()
    pool, together = Pool(threads), threading.Barrier(threads)
    try:
        for _ in range(threads):
            pool.submit(together.wait)                 # keeps its thread until all are there
    except RuntimeError:                               # can't start new thread
        together.abort()
        pool.shutdown()
        return Caller()
    return pool


def share_out(work, shares, pool):
    """work(0), ..., work(shares - 1). The caller does the first itself: a thread that has slept may wake
    late, and beside a caller who waits two were seen to take turns on one core."""
    rest = pool.map(work, range(1, shares))
    work(0)
    list(rest)


def available_cpus():
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory():
    """Ask glibc, for this whole process, to keep freed blocks for the next array. By default it hands large
    ones back to the system, and every temporary of every op pays again for having its pages mapped and
    zeroed: 5 to 25 % of a training step, measured."""
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8           # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return                                                             # not glibc: macOS, Windows, musl
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_MMAP_THRESHOLD, 2**25)                                       # the largest it accepts
    mallopt(M_ARENA_MAX, 1)                      # one heap, so that threads reuse each other's blocks


class _OneBlasThread:
    """The context manager ``one_blas_thread``. It may be entered again inside, and by several threads at
    once: what BLAS had before comes back when the last of them has left."""

    def __init__(self):
        self._lock, self._inside, self._limit = threading.Lock(), 0, None

    def __enter__(self):
        with self._lock:
            if not self._inside:
                self._limit = _libraries().limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *exception):
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._limit.restore_original_limits()


@functools.cache
def _libraries():
    """The thread pools of the libraries that this process has loaded, NumPy's BLAS among them."""
    import numpy  # noqa: F401  (a library that is not loaded yet would be missed)
    return threadpoolctl.ThreadpoolController()


# Our pool puts a shard of the work on each processor; a BLAS that brings threads of its own then fights it
# for them, and on a busy machine both lose most of their time. (Results do not depend on it.)
one_blas_thread = _OneBlasThread()
