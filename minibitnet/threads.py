"""A pool of threads, or the caller alone where the system starts none."""
import threading
from concurrent.futures import ThreadPoolExecutor


class Caller:
    """In place of a pool: whoever asks for the work does it."""
    map = staticmethod(map)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass


def pool_of(threads):
    """A pool of so many threads, started at once. A browser and some sandboxes refuse to start one: then the
    caller does the work. Results do not depend on how many do it."""
    if threads == 1:
        return Caller()
    pool, together = ThreadPoolExecutor(threads), threading.Barrier(threads)
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
