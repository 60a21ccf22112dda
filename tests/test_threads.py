"""A pool of threads where the system starts them, the caller where it does not: the same results."""
import threading

import pytest

from minibitnet import threads
from minibitnet.nn import training
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.threads import Caller, pool_of


@pytest.fixture
def new():
    """A function that lists the threads that were not there before the test. (Some of those may end
    meanwhile: pools that nobody holds any more.)"""
    before = set(threading.enumerate())
    return lambda: set(threading.enumerate()) - before


def refuse_after(started, monkeypatch):
    """From now on the system starts so many threads, and no more."""
    start, left = threading.Thread.start, iter(range(started))

    def refusing(thread):
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)
    monkeypatch.setattr(threading.Thread, "start", refusing)


def test_a_pool_of_one_is_the_caller(new):
    """No thread is started, and the work is done by who asks for its result."""
    with pool_of(1) as pool:
        assert isinstance(pool, Caller)
        assert list(pool.map(lambda x: (x, threading.current_thread()),
                             "ab")) == [(x, threading.current_thread()) for x in "ab"]
        assert not new()


def test_a_pool_of_three_has_three_threads_from_the_beginning(new):
    """Three calls that wait for each other all end, none of them on the caller's thread; results come in the
    order of what was asked for."""
    together = threading.Barrier(3)

    def wait(x):
        together.wait(timeout=60)
        return x, threading.current_thread()
    with pool_of(3) as pool:
        assert len(new()) == 3
        letters, where = zip(*pool.map(wait, "abcdef"))
    assert "".join(letters) == "abcdef" and threading.current_thread() not in where and not new()


@pytest.mark.parametrize("started", [0, 1, 2])
def test_where_a_thread_is_refused_the_caller_does_the_work(started, monkeypatch, new):
    """The first, the second or the third one; those that were started end."""
    refuse_after(started, monkeypatch)
    with pool_of(3) as pool:
        assert isinstance(pool, Caller) and not new()
        assert list(pool.map(lambda x: (x, threading.current_thread()),
                             range(5))) == [(x, threading.current_thread()) for x in range(5)]


def test_the_refusal_is_one(monkeypatch):
    """What the tests above stand on: a plain pool would break here, and where three threads start, pool_of's
    is none of the caller."""
    refuse_after(3, monkeypatch)
    with pool_of(3) as pool:
        assert not isinstance(pool, Caller) and list(pool.map(abs, [-1, 2])) == [1, 2]
    with threads.ThreadPoolExecutor(2) as pool, pytest.raises(RuntimeError, match="can't start new thread"):
        list(pool.map(abs, [-1, 2]))


def test_shares_go_to_the_caller_and_to_the_threads():
    """The caller has the first one, at the same time as a thread the second; alone it has all, in their
    order."""
    together, done = threading.Barrier(2), {}

    def work(k):
        if k < 2:
            together.wait(timeout=60)
        done[k] = threading.current_thread()
    with pool_of(2) as pool:
        threads.share_out(work, 4, pool)
    here = threading.current_thread()
    assert sorted(done) == [0, 1, 2, 3] and [done[k] is here for k in range(4)] == [True, False, False, False]
    order = []
    threads.share_out(order.append, 3, Caller())
    assert order == [0, 1, 2]


def test_an_error_in_a_share_reaches_the_caller():
    with pool_of(2) as pool:
        for bad in (0, 1):
            with pytest.raises(ZeroDivisionError):
                threads.share_out(lambda k: 1 / (k - bad), 2, pool)


@pytest.mark.parametrize("linear", ["ternary", "float"])
def test_training_gives_the_same_bytes_where_no_thread_starts(linear, monkeypatch, rng):
    """Of four shards, with three threads, with one refused, and without."""
    monkeypatch.setattr(training, "SHARD_TOKENS", 8)
    c = ModelConfig(vocab_size=13, d_model=16, n_layers=1, n_heads=2, context=8, linear=linear)
    quantized, (ids, targets) = Transformer(c).quantized(training=True), rng.integers(0, 13, (2, 4, 8))

    def result():
        with pool_of(3) as pool:
            loss, grads = training.loss_and_gradients(quantized, ids, targets, pool)
        return type(pool) is Caller, (loss, {name: g.tobytes() for name, g in grads.items()})
    results = [result()]
    for started in (1, 0):
        with monkeypatch.context() as patch:
            refuse_after(started, patch)
            results.append(result())
    assert [caller for caller, _ in results] == [False, True, True]
    assert results[0][1] == results[1][1] == results[2][1]
    targets[3, 7] = (targets[3, 7] + 1) % 13                  # the comparison sees another target
    assert result()[1] != results[0][1]
