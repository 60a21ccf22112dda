"""Arrays of float32, and whether their bits are the same."""
import numpy as np

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def array(*numbers):
    return np.array(numbers, np.float32)


def same(*results):
    """Arrays of one shape and one type with the same bits."""
    return len({(x.shape, x.dtype, x.tobytes()) for x in results}) == 1
