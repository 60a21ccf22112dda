"""The numbers of the poster (``poster.py``), computed when it is drawn: of one matrix in its three lives, and
of the storyteller. What a pencil can check is asserted, so that a changed quantizer, layout or kernel ends
the drawing instead of passing into the picture."""
import math
from typing import NamedTuple

import numpy as np

from ..api import STORYTELLER, load
from ..data_files import packaged
from ..exact import exp, total
from ..formats import packed
from ..formats.rundir import RunDirectory
from ..inference import kernels
from ..language_model import FloatEngine, engine_of
from ..nn import ops, ste
from ..nn.autograd import Tensor, backward, record
from ..nn.config import ModelConfig
from ..nn.model import Transformer
from ..packing import pack_ternary, unpack_ternary
from ..quant import Quantized, absmax_int8, absmean_ternary
from ..stories import entropy, walk

W = np.float32([[.9, -.3, .2, -.6], [-.7, .1, .8, .4], [.2, .6, -.9, -.1], [.5, -.8, -.2, .7]])
X = np.float32([1, -2.1, .5, 4])
G, RATE = np.float32([1, -1, 0, .5]), np.float32(0.05)          # a gradient from above, a learning rate
LOGITS = 4                                                       # that are shown
NEW_STORIES = 4


# ---- one matrix

class Toy(NamedTuple):
    """A matrix and a column, from floats to whole-number sums, by every way that the library has."""
    weights: Quantized           # codes (4, 4), scale
    column: Quantized            # codes (4,), scale
    sums: np.ndarray             # int32 (4,), of training and of running
    packed: np.ndarray           # uint8 (1, 4)
    planes: np.ndarray           # bool (2, 4, 4): not zero, negative
    after: np.ndarray            # W after one step
    flipped: tuple               # the place whose code that step changed
    old: int                     # its code before
    new: int                     # and after


def toy():
    """-> Toy; AssertionError where two ways differ, or one from the pencil."""
    weights, column = absmean_ternary(W), absmax_int8(X)
    assert weights.scale == 0.5                                  # mean|W| = 8 / 16
    assert weights.codes.tolist() == [[1, -1, 0, -1], [-1, 0, 1, 1], [0, 1, -1, 0], [1, -1, 0, 1]]
    assert column.codes.tolist() == [32, -67, 16, 127]
    assert column.scale == np.float32(4) / np.float32(127)       # max|x| / 127

    latent = Tensor(W)                                           # the first life, on the tape
    with record() as tape:
        y = ops.quantized_linear(ste.int8_activation(X[:, None, None]), ste.ternary_weight(latent))
    gradient = backward(tape, y, G[:, None, None])[latent.key]
    assert np.allclose(gradient, np.multiply.outer(G, column.codes * column.scale))
    y = y.data.ravel()
    trained = np.rint(y / (weights.scale * column.scale).ravel()).astype(int)

    bytes_ = pack_ternary(weights.codes)                         # the second
    assert bytes_.tolist() == [[0b10_01_00_10, 0b00_10_01_00, 0b01_00_10_01, 0b10_01_10_00]]
    assert np.array_equal(unpack_ternary(bytes_, len(W)), weights.codes)

    planes = kernels.repack(bytes_, len(W))                      # the third
    sums = kernels.matmul(column.codes, planes, integer=True)
    x = column.codes[:, None]
    ways = [kernels.reference(x, weights.codes), kernels.by_blas(x, planes),
            kernels.by_lookup(x, kernels.table_indices(weights.codes)), trained[:, None]]
    assert all(np.array_equal(way[:, 0], sums) for way in ways)
    assert sums.tolist() == [-28, 111, -83, 226]
    assert np.array_equal(y, sums.astype(np.float32) * (weights.scale * column.scale).ravel())
    words = np.stack([planes.nonzero[0], planes.negative[0]])
    bits = (words[..., None] >> np.arange(4, dtype=np.uint64) & np.uint64(1)).astype(bool)
    assert np.array_equal(bits[0].astype(int) - 2 * bits[1], weights.codes)

    after = W - RATE * gradient                                  # one step of training
    codes = absmean_ternary(after).codes
    [place] = np.argwhere(codes != weights.codes).tolist()
    assert place == [0, 1]
    return Toy(weights, column, sums, bytes_, bits, after, tuple(place),
               int(weights.codes[*place]), int(codes[*place]))


def packed_is_float():
    """Are the packed engine's logits the float engine's, to the last bit? Of a small model, untrained."""
    c = ModelConfig(vocab_size=64, d_model=32, n_layers=2, n_heads=2, context=16)
    transformer, ids = Transformer(c, 0), np.arange(16)[None]
    running = engine_of("packed", c, *packed.pack(transformer.arrays(), c))
    return np.array_equal(running(ids), FloatEngine(transformer)(ids))


# ---- the storyteller

class Token(NamedTuple):
    """One of the likeliest next ones."""
    text: str
    logit: int
    chance: float                # as the model has it
    truth: float                 # as the language has it


class Told(NamedTuple):
    """What the packaged model says, in whole numbers."""
    story: str
    tokens: list                 # (text, id) of the story's first four
    row: list                    # the embedding of the first one, int16, its first numbers
    row_bits: int                # in units of 2^-row_bits
    prompt: str                  # after which the logits are
    logits: list                 # of Token, the likeliest first
    places: int                  # of new stories' tokens
    same: int                    # where packed and integer engine find the same token likeliest
    metrics: list                # lines of its training


def told():
    """-> Told, of the model that the package brings along; UserError where it does not."""
    folder = packaged(f"{STORYTELLER}/config.json").parent
    model = load(folder, "integer")
    story = next(story.text for story in walk.stories(0) if story.text.startswith("Once upon"))
    ids = model.tokenizer.encode(story)
    first = int(ids[0])
    embedding = model.engine.embedding
    prompt = story.split()[0]
    logits = model.logits(model.encode(prompt))[-1].astype(np.int64)
    chances = exp((logits - logits.max()) * model.logit_scale)
    chances = chances / total(chances)[0]
    likeliest = np.argsort(-logits, kind="stable")[:LOGITS].tolist()
    texts = {i: model.tokenizer.decode([i]) for i in likeliest}
    tokens = [Token(texts[i], int(logits[i]), float(chances[i]),
                    math.exp(entropy.log_likelihood(prompt, texts[i]))) for i in likeliest]
    packed_one, counts = load(folder, "packed"), []
    for _, new in zip(range(NEW_STORIES), walk.stories(2**40)):          # a seed that no run was trained on
        new_ids = model.encode(new.text)[:model.config.context]
        counts.append(np.equal(*(m.logits(new_ids).argmax(1) for m in (model, packed_one))))
    same = np.concatenate(counts)
    return Told(story, [(model.tokenizer.decode([i]), int(i)) for i in ids[:4]],
                embedding.codes[first].tolist(), int(embedding.bits[first]), prompt, tokens,
                same.size, int(np.count_nonzero(same)),
                RunDirectory(packaged(f"{STORYTELLER}/metrics.jsonl").parent).metrics())
