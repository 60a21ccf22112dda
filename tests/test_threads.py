"""A pool of threads where the system starts them, the caller where it does not: the same results. One thread
for BLAS meanwhile, and what it had before after."""
import subprocess
import sys
import threading

import pytest
import threadpoolctl

import minibitnet
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


# ---- one thread for BLAS

def blas():
    """How many threads each BLAS of this process has."""
    return {pool["filepath"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()
            if pool["user_api"] == "blas"}


@pytest.fixture
def three(request):
    """BLAS has three threads in this test, whatever the machine."""
    if not blas():
        pytest.skip("a BLAS that threadpoolctl does not know")
    with threadpoolctl.threadpool_limits(3, "blas"):
        yield
        assert set(blas().values()) == {3}, "and has them again after it"


def held():
    return set(blas().values()) == {1}


def test_blas_has_one_thread_inside_and_what_it_had_after(three):
    """Nested, too; and after an exception."""
    with threads.one_blas_thread:
        with threads.one_blas_thread:
            assert held()
        assert held(), "the inner one ends, the outer one goes on"
    assert not held()
    with pytest.raises(KeyError), threads.one_blas_thread:
        raise KeyError
    assert not held()


def test_the_last_of_several_threads_gives_it_back(three):
    """Of two that are inside at once, whichever leaves first leaves it held for the other."""
    inside, leave, found = threading.Barrier(2), threading.Event(), []

    def work():
        with threads.one_blas_thread:
            inside.wait(timeout=60)
            leave.wait(timeout=60)
        found.append(held())
    thread = threading.Thread(target=work)
    with threads.one_blas_thread:
        thread.start()
        inside.wait(timeout=60)
        leave.set()
        thread.join()
        assert found == [True] and held()
    assert not held()


def test_work_on_a_model_holds_it_and_gives_it_back(three, monkeypatch):
    """fit, in its steps; logits, loss, trace, and a generator in its tokens but not between them."""
    found, step = [], training.step

    def seen(*arguments, **options):
        found.append(held())
        return step(*arguments, **options)
    monkeypatch.setattr(training, "step", seen)
    text = "to be or not to be\n" * 20
    model, _, _ = minibitnet.fit(text, progress=False, d_model=16, n_layers=1, n_heads=2, context=16, batch=4,
                                 steps=2)
    assert found == [True, True] and not held()
    engine = model.engine
    monkeypatch.setattr(model, "engine", SeenEngine(engine, found))
    model.logits([1, 2]), model.loss("to be"), model.log_likelihoods("to", [" be", " do"[:1]])
    assert found[2:] == [True] * 4 and not held()
    for piece in model.stream("to", 3):
        assert not held(), "the caller's own work has all of BLAS"
    assert found[6:] == [True] * 3
    with pytest.raises(minibitnet.UserError):
        model.logits([-1])
    assert not held()


class SeenEngine:
    """An engine that notes how many threads BLAS has."""

    def __init__(self, engine, found):
        self.engine, self.found, self.config = engine, found, engine.config
        self.new_caches = engine.new_caches

    def __call__(self, *arguments, **options):
        self.found.append(held())
        return self.engine(*arguments, **options)


def test_importing_sets_no_environment_variable():
    """Whoever sets OPENBLAS_NUM_THREADS and its like does it for all that the process starts."""
    code = ("import os; before = dict(os.environ); import minibitnet, minibitnet.train, minibitnet._command; "
            "minibitnet.fit; assert dict(os.environ) == before")
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("how", ["fit", "command"])
def test_blas_is_held_where_numpy_came_first(how, tmp_path):
    """In a notebook NumPy is there long before; what sets variables would come too late."""
    (tmp_path / "t.txt").write_text("to be or not to be\n" * 20)
    code = f"""
import numpy, sys, threadpoolctl
from minibitnet.nn import training
step = training.step
def seen(*arguments, **options):
    print(*(p["num_threads"] for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"))
    return step(*arguments, **options)
training.step = seen
small = dict(d_model=16, n_layers=1, n_heads=2, context=16, batch=4, steps=1)
if {how!r} == "fit":
    import minibitnet
    minibitnet.fit("t.txt", progress=False, **small)
else:
    from minibitnet import _command, train
    flags = (("--" + name.replace("_", "-"), str(value)) for name, value in small.items())
    sys.argv[1:] = ["--data", "t.txt", *(word for flag in flags for word in flag)]
    _command.run(train.main)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          check=True)
    seen = [line for line in done.stdout.splitlines() if set(line.split()) <= set("0123456789")]
    assert seen and set(seen[0].split()) <= {"1"}
