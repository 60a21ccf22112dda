"""The tape on graphs small enough to differentiate by hand."""
import threading

import numpy as np

from minibitnet.nn.autograd import Tensor, backward, op, record


@op
def mul(x, y):
    return x * y, lambda g: (g * y, g * x)


@op
def add(x, y):
    return x + y, lambda g: (g, g)


def scalar(value):
    return Tensor(np.float64(value))


def test_a_diamond_adds_both_branches():
    """a = x x, y = a a + a: dy/dx = (2 a + 1) 2 x = 19 * 6 at x = 3."""
    x = scalar(3)
    with record() as tape:
        a = mul(x, x)
        y = add(mul(a, a), a)
    assert backward(tape, y)[x.key] == 19 * 6


def test_a_shared_gradient_array_is_not_changed_in_place():
    """y = (x + z) + x: add hands one array to both inputs. In-place accumulation into x would leak into z: dz
    would be 2."""
    x, z = Tensor(np.ones(2)), Tensor(np.ones(2))
    total = op(lambda v: (v.sum(), lambda g: (np.full(2, g),)))
    with record() as tape:
        y = total(add(add(x, z), x))
    grads = backward(tape, y)
    assert np.array_equal(grads[x.key], [2, 2]) and np.array_equal(grads[z.key], [1, 1])


def test_only_leaves_have_gradients_and_the_tape_is_consumed():
    x, y = scalar(2), scalar(5)
    with record() as tape:
        out = mul(mul(x, y), y)
    grads = backward(tape, out)
    assert grads == {x.key: 25, y.key: 20} and tape == []


def test_ops_that_the_loss_does_not_need_are_skipped():
    """The vjp of an unused branch is never called."""
    def explode(g):
        raise AssertionError("called")
    unused = op(lambda v: (v, explode))
    x = scalar(2)
    with record() as tape:
        y = mul(x, x)
        unused(x)
    assert backward(tape, y)[x.key] == 4


def test_nothing_is_recorded_outside_record():
    x = scalar(2)
    with record() as tape:
        pass
    mul(x, x)
    assert tape == []


def test_plain_arrays_are_constants():
    x = scalar(2)
    with record() as tape:
        y = mul(x, np.float64(7))
    assert backward(tape, y) == {x.key: 7}


def test_arrays_that_no_vjp_needs_are_freed_during_the_forward_pass():
    """a = x + x is an input of b = a + x, and neither sum's gradient needs it: it is gone before backward."""
    freed = []

    class Noted(np.ndarray):
        def __del__(self):
            freed.append(self.shape)
    start = op(lambda v: (np.full(3, v).view(Noted), lambda g: (g.sum(),)))
    x = scalar(1)
    with record() as tape:
        b = add(start(x), np.ones(3))
        total = op(lambda v: (v.sum(), lambda g: (np.full(3, g),)))(b)
        assert (3,) in freed
    assert backward(tape, total)[x.key] == 3


def test_seed_scales_every_gradient():
    x = scalar(3)
    with record() as tape:
        y = mul(x, x)
    assert backward(tape, y, seed=0.5)[x.key] == 3


def test_forward_gives_the_array_alone():
    assert mul.forward(np.float64(2), np.float64(3)) == 6


def test_threads_record_apart():
    """Two threads differentiate with respect to the same parameter at once, each on its own tape."""
    x, results, barrier = scalar(3), {}, threading.Barrier(2)

    def work(k):
        with record() as tape:
            y = mul(x, np.float64(k))
            barrier.wait()
            results[k] = backward(tape, y)[x.key]
    threads = [threading.Thread(target=work, args=(k,)) for k in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {1: 1, 2: 2}


def test_recording_inside_recording_restores_the_outer_tape():
    x = scalar(3)
    with record() as outer:
        with record() as inner:
            mul(x, x)
        y = mul(x, x)
    assert len(inner) == len(outer) == 1 and outer[0][0] == y.key
