"""Ternary matrices in the blocks of ggml, llama.cpp's library: the bytes of a tensor, to the bit.

A row of a matrix (n, m) is cut into blocks of weights that follow each other; each has a scale d, float16,
and a weight is  d (code),  code -1, 0 or +1. (The scale of our own matrices is one float32 for all of it,
which float16 would round: it goes beside the tensor, and d is 1.)

    type   id   weights a block   bytes   bits a weight
    TQ1_0  34   256               54      1.6875     base 3: qs[48], qh[4], d
    TQ2_0  35   256               66      2.0625     2 bits: qs[64], d
    I2_S   36   128               32      2          2 bits, no d: one float32 for the whole tensor, behind it
    Q1_0   41   128               18      1.125      signs: d, bits[16];  bit 1: +d, 0: -d
    Q2_0   42    64               18      2.25       2 bits: d, qs[16]

I2_S is of Microsoft's fork (bitnet.cpp), and of builds that follow it: elsewhere 36 is a type that is gone.
In the layouts below t = code + 1, a digit 0, 1 or 2.

**TQ2_0**: a block is two halves of 128; byte p of a half's 32 holds weights p, 32 + p, 64 + p, 96 + p in its
bits 0-1, 2-3, 4-5, 6-7. **I2_S** is one such half with the pairs the other way round: weight p in bits 6-7,
32 + p in bits 4-5, 64 + p in bits 2-3, 96 + p in bits 0-1. **Q2_0**: byte j holds weights 4 j to 4 j + 3, the
first in bits 0-1. **Q1_0**: byte j holds weights 8 j to 8 j + 7, the first in bit 0.

**TQ1_0**: five digits are a number below 243, the first the most significant, and it is stored as a fraction
of 256, rounded up: byte = ceil(v 256 / 243). So digit k is had without a division: multiply the byte by 3^k,
keep 8 bits, multiply by 3, and what exceeds 8 bits is the digit. Weights 0-159: byte p of 32 holds p, 32 + p,
.. 128 + p; weights 160-239: byte p of 16 holds 160 + p, 176 + p, .. 224 + p; weights 240-255: byte p of 4
holds 240 + p, 244 + p, 248 + p, 252 + p, and a fifth digit that is 0.
"""
from typing import NamedTuple

import numpy as np

POWERS = np.array([81, 27, 9, 3, 1], np.uint16)
# of TQ1_0: first weight, how far apart a byte's digits are, how many digits
RANGES = (0, 32, 5), (160, 16, 5), (240, 4, 4)


class Kind(NamedTuple):
    """A type of ggml's: its id, weights and bytes of a block."""
    name: str
    id: int
    weights: int
    bytes: int


TQ1_0, TQ2_0 = Kind("TQ1_0", 34, 256, 54), Kind("TQ2_0", 35, 256, 66)
I2_S, Q1_0, Q2_0 = Kind("I2_S", 36, 128, 32), Kind("Q1_0", 41, 128, 18), Kind("Q2_0", 42, 64, 18)
KINDS = {kind.id: kind for kind in (TQ1_0, TQ2_0, I2_S, Q1_0, Q2_0)}
TAIL = 32            # bytes behind an I2_S tensor, of which four are its scale
LEGACY = 128, 34     # weights and bytes of a block in a fork's older files that call themselves 42 too


def n_bytes(kind, shape):
    """Bytes of a matrix (n, m); ValueError where its rows are no whole blocks."""
    n, m = shape
    if m % kind.weights:
        raise ValueError(f"rows of {m} weights: expected a multiple of {kind.weights} for {kind.name}")
    return n * m // kind.weights * kind.bytes + TAIL * (kind is I2_S)


# ---- codes -> bytes

def encode(kind, codes, scale=1.0):              # int8 (n, m) of -1, 0, +1, float -> uint8 (n_bytes,)
    """A matrix in blocks, all with this scale; ValueError where a block does not divide its rows, where the
    scale is not a float16, or for zeros in Q1_0."""
    size = n_bytes(kind, codes.shape)
    t = (codes + 1).astype(np.uint8).reshape(-1, kind.weights)
    if kind is I2_S:
        data = np.zeros(size, np.uint8)
        data[:size - TAIL] = pairs(t, (6, 4, 2, 0)).reshape(-1)
        data[size - TAIL:size - TAIL + 4] = np.array([scale], "<f4").view(np.uint8)
        return data
    d = np.array([scale], "<f2")
    if np.float32(d[0]) != np.float32(scale):
        raise ValueError(f"scale {scale}: expected one that float16 holds")
    if kind is Q1_0 and (codes == 0).any():
        raise ValueError("a weight of 0: expected -1 and +1 alone, in one bit")
    blocks = {TQ1_0: thirds, TQ2_0: pairs, Q2_0: neighbours, Q1_0: signs}[kind](t)
    ds = np.broadcast_to(d.view(np.uint8), (len(t), 2))
    return np.concatenate([ds, blocks] if kind in (Q1_0, Q2_0) else [blocks, ds], 1).reshape(-1)


def pairs(t, shifts=(0, 2, 4, 6)):               # digits (N, k 128) -> uint8 (N, k 32)
    """Four weights a byte, 32 apart."""
    parts = t.reshape(len(t), -1, 4, 32) << np.array(shifts, np.uint8)[:, None]
    return np.bitwise_or.reduce(parts, axis=2).reshape(len(t), -1)


def neighbours(t):                               # digits (N, 64) -> uint8 (N, 16)
    """Four weights a byte, neighbours."""
    return np.bitwise_or.reduce(t.reshape(len(t), -1, 4) << np.array([0, 2, 4, 6], np.uint8), axis=2)


def signs(t):                                    # digits 0 and 2 (N, 128) -> uint8 (N, 16)
    """Eight weights a byte."""
    return np.packbits(t == 2, axis=1, bitorder="little")


def thirds(t):                                   # digits (N, 256) -> uint8 (N, 52)
    """Five weights a byte, of the last ones four."""
    values = [(t[:, first:first + apart * k].reshape(len(t), k, apart) * POWERS[:k, None]).sum(1)
              for first, apart, k in RANGES]
    return ((np.concatenate(values, 1).astype(np.uint32) * 256 + 242) // 243).astype(np.uint8)


# ---- bytes -> codes

class Blocks(NamedTuple):
    """A matrix that was read: codes int8 (n, m); scale: one float32 for all of it, or (n, m / block) of
    them."""
    codes: np.ndarray
    scale: np.ndarray


def decode(kind, data, shape):                   # uint8 (n_bytes,) -> Blocks
    """The inverse; ValueError for another number of bytes, for digits that mean nothing, or a scale that is
    not finite."""
    size = n_bytes(kind, shape)
    n, m = shape
    if len(data) != size:
        legacy = kind is Q2_0 and m % LEGACY[0] == 0 and len(data) == n * m // LEGACY[0] * LEGACY[1]
        told = "; these are blocks of 128 weights, of a fork's older files" if legacy else ""
        raise ValueError(f"{len(data):,} bytes for {n} x {m} weights in {kind.name}: expected {size:,}{told}")
    if kind is I2_S:
        scale = data[size - TAIL:size - TAIL + 4].copy().view("<f4")
        t = unpaired(data[:size - TAIL].reshape(-1, kind.bytes), (6, 4, 2, 0))
    else:
        blocks = data.reshape(-1, kind.bytes)
        d, bits = ((blocks[:, :2], blocks[:, 2:]) if kind in (Q1_0, Q2_0) else
                   (blocks[:, -2:], blocks[:, :-2]))
        scale = np.ascontiguousarray(d).view("<f2").astype(np.float32).reshape(n, -1)
        t = {TQ1_0: digits, TQ2_0: unpaired, Q2_0: parted, Q1_0: doubled}[kind](bits)
    if not np.isfinite(scale).all():
        raise ValueError("a scale that is not finite")
    if (t > 2).any():
        raise ValueError("a weight with bits 11, which ternary weights have not (+2 in other models)")
    return Blocks(t.reshape(n, m).astype(np.int8) - np.int8(1), scale)


def unpaired(bits, shifts=(0, 2, 4, 6)):         # uint8 (N, k 32) -> digits (N, k 128)
    """The inverse of ``pairs``."""
    parts = bits.reshape(len(bits), -1, 1, 32) >> np.array(shifts, np.uint8)[:, None] & 3
    return parts.reshape(len(bits), -1)


def parted(bits):
    """The inverse of ``neighbours``."""
    return (bits[:, :, None] >> np.array([0, 2, 4, 6], np.uint8) & 3).reshape(len(bits), -1)


def doubled(bits):
    """The inverse of ``signs``."""
    return 2 * np.unpackbits(np.ascontiguousarray(bits), axis=1, bitorder="little")


def digits(bits):                                # uint8 (N, 52) -> digits (N, 256)
    """The inverse of ``thirds``."""
    found, start = [], 0
    for _, apart, k in RANGES:
        part = bits[:, None, start:start + apart] * POWERS[::-1].astype(np.uint8)[:k, None]     # keeps 8 bits
        found.append((part.astype(np.uint16) * 3 >> 8).reshape(len(bits), -1))
        start += apart
    return np.concatenate(found, 1)
