"""Training, kernels and decoding beside others: what is measured, and how times become figures."""
import importlib.util
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet import bench
from minibitnet.errors import UserError
from minibitnet.inference.kernels import reference
from minibitnet.measure import decode_bench, kernel_bench, prompt_bench, step_profile, train_bench
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.nn.optim import AdamW, clip_global_norm
from minibitnet.nn.training import Recorder, TrainConfig, loss_and_gradients, train
from minibitnet.text.batches import part_of
from minibitnet.text.streams import TokenStream

SMALL = ModelConfig(vocab_size=8, d_model=4, n_heads=1, d_ffn=6, n_layers=1, context=8, linear="float")
CONTENDERS = [kernel_bench.DENSE, kernel_bench.SHARED, "bit planes"]


# ---- from times to figures

def took(monkeypatch, facts=None, **seconds):
    """From now on contenders take these seconds a step in their rounds, and each holds 100 MB."""
    results = {name.replace("_", " "): (times, facts or {}, 100.0) for name, times in seconds.items()}
    for module in (train_bench, kernel_bench, decode_bench, prompt_bench):
        monkeypatch.setattr(module, "processes_take_turns",
                            lambda jobs, rounds, seconds: {name: results[name] for name in jobs})


def test_a_row_of_training_by_pencil(monkeypatch):
    """12 tokens a step, in 2, 6 and 3 s by us, in 1, 2 and 3 s by the products alone: 6, 2, 4 and 12, 6, 4
    tokens/s. They take 1/2, 1/3 and 1 of our time: in the median round our speed is 0.5 of theirs."""
    took(monkeypatch, {"tokens": 12}, minibitnet=[2, 6, 3], GEMMs_alone=[1, 2, 3])
    row = train_bench.measure([train_bench.OURS, train_bench.GEMMS], "S", "float", rounds=3, threads=1)
    assert (row["size"], row["linear"], row["threads"], row["rounds"]) == ("S", "float", 1, 3)
    assert row[train_bench.OURS] == {"tokens_per_s": 4, "peak_mb": 100,
                                     "ours_to_this": {"median": 1, "least": 1, "most": 1}}
    assert row[train_bench.GEMMS] == {"tokens_per_s": 6, "peak_mb": 100,
                                      "ours_to_this": {"median": 1 / 2, "least": 1 / 3, "most": 1}}
    words = train_bench.in_words(row, [train_bench.OURS, train_bench.GEMMS])
    assert words.endswith("6 tok/s    100 MB   ours / this 0.50 (0.33 to 1.00)")


def test_a_row_of_the_kernels_by_pencil(monkeypatch):
    """Dense takes 4 s in each round, shared out 2, 8 and 2, which is faster in the median; bit planes 1, 2
    and 3: 1/2, 1/4 and 3/2 of that, and 2 s for 10 weights are 2000 ms and 2e8 ns a weight."""
    took(monkeypatch, {"threads": 1}, dense_float32=[4, 4, 4], bit_planes=[1, 2, 3],
         **{"dense, shared out": [2, 8, 2]})
    row = kernel_bench.measure(CONTENDERS, 2, 5, tokens=1, rounds=3, threads=2)
    assert row[kernel_bench.SHARED]["to_dense"] == 1 and row[kernel_bench.DENSE]["to_dense"] == 2
    assert row["bit planes"] == {"ms": 2000, "ns_per_weight": 2e8, "threads": 1, "to_dense": 0.5}


def test_a_row_of_decoding_by_pencil(monkeypatch):
    """A token takes the packed engine 1, 2 and 4 s, the float engine 2, 3 and 2 s: half a token a second
    each; 2, 1.5 and 0.5 of our time."""
    took(monkeypatch, packed_engine=[1, 2, 4], float_engine=[2, 3, 2], integer_engine=[8, 8, 8])
    row = decode_bench.measure("tiny", rounds=3, threads=1)
    packed, dense = row[decode_bench.PACKED], row[decode_bench.FLOAT]
    assert packed["decode_tokens_per_s"] == dense["decode_tokens_per_s"] == 0.5
    assert packed["ours_to_this"]["median"] == 1
    assert dense["ours_to_this"]["median"] == 1.5


def test_a_model_that_is_there_is_loaded_and_timed(capsys):
    """The one that comes along, in a process of its own."""
    assert bench.main(["decode", "--model", "storyteller", "--rounds", "1", "--threads", "1", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["shape"] == "storyteller" and row["context"] == 288
    assert 0 < row["load_s"] < 60 and 0 < row["load_peak_mb"] <= row[decode_bench.PACKED]["peak_mb"]
    assert "loaded in" in decode_bench.in_words(row)
    with pytest.raises(UserError, match="storytelling is not there"):
        bench.main(["decode", "--model", "storytelling", "--rounds", "1"])


def test_a_row_of_a_prompt_by_pencil(monkeypatch):
    """Of 12 tokens: 8 bits take 4, 6 and 8 s, 2 tokens a second in the median; a48 2, 6 and 8 s, as fast in
    the median round, v2 2, 3 and 8 s, twice as fast."""
    took(monkeypatch, ternary=[4, 6, 8], a48=[2, 6, 8], v2=[2, 3, 8])
    row = prompt_bench.measure("tiny", 12, rounds=3, threads=1)
    assert row["ternary"] == {"tokens_per_s": 2, "peak_mb": 100,
                              "to_eight": {"median": 1, "least": 1, "most": 1}}
    assert row["a48"]["to_eight"] == {"median": 1, "least": 1, "most": 2}
    assert row["v2"]["tokens_per_s"] == 4 and row["v2"]["to_eight"]["median"] == 2
    words = prompt_bench.in_words(row)
    assert words.startswith("tiny, a prompt of 12, 1 threads") and words.endswith("2.00 (1.00 to 2.00)")


# ---- a step of training

def test_the_floor_is_three_products_of_every_matrix_for_every_token(monkeypatch):
    """4 matrices of 4 x 4, 3 of 4 x 6 and a head of 8 x 4 have 168 weights; each meets each of 4 x 8 tokens
    in W x, W^T g and g x^T. What is transposed is no longer in the order of C."""
    counted = Counter()

    class Counted(np.ndarray):
        def __array_ufunc__(self, ufunc, method, a, b):
            assert ufunc is np.matmul and a.shape[1] == len(b)
            counted[tuple("" if x.flags.c_contiguous else "T" for x in (a, b))] += a.size * b.shape[1]
    numpy = SimpleNamespace(ones=lambda *a: np.ones(*a).view(Counted), float32=np.float32)
    monkeypatch.setattr(train_bench, "np", numpy)
    ids = np.zeros((4, 8), int)
    train_bench.gemms(SMALL, ids, ids, step_profile.SameThread())()
    assert counted == {("", ""): 168 * 32, ("T", ""): 168 * 32, ("", "T"): 168 * 32}


def test_our_step_is_one_of_training(monkeypatch):
    """After the same batch weights and moments are those that ``train`` leaves, to the bit; the gradient is
    large enough to be clipped."""
    part = part_of(TokenStream(np.arange(99) % 2, None), SMALL.context)
    c = TrainConfig(steps=2, batch=4, lr=1e-3, second_lr=1e-3, warmup=0, log_every=9, eval_every=9,
                    save_every=9)
    model, made = Transformer(SMALL), []
    optimizer = AdamW(model.parameters())
    ids, targets = part.random(0, seed=c.seed, batch=c.batch)
    assert clip_global_norm(loss_and_gradients(model, ids, targets, step_profile.SameThread())[1], 0) > 1.1

    class Run:
        last = prev = "nowhere"
        log = staticmethod(lambda line: None)
    monkeypatch.setattr("minibitnet.formats.checkpoint.save", lambda *args: None)
    assert train(model, optimizer, c, part, Recorder(Run, {}, part, 1), stopped=lambda: True) == 1
    monkeypatch.setattr(train_bench, "AdamW", lambda parameters: made.append(AdamW(parameters)) or made[0])
    train_bench.our_step(SMALL, ids, targets, step_profile.SameThread())()
    for name, p in model.parameters().items():
        assert np.array_equal(made[0].parameters[name].data, p.data), name
        assert np.array_equal(made[0].m[name], optimizer.m[name]), name
        assert np.array_equal(made[0].v[name], optimizer.v[name]), name


# ---- kernels and models

@pytest.mark.parametrize("name", kernel_bench.KERNELS)
def test_every_contender_among_the_kernels_makes_the_same_product(name, rng):
    """What is compared for speed is equal in result, for an odd shape and several tokens."""
    if name == kernel_bench.PYTORCH and not importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is not installed")
    w, codes = rng.integers(-1, 2, (13, 70), np.int8), rng.integers(-127, 128, (70, 3)).astype(np.float32)
    matrix, multiply, _ = kernel_bench.KERNELS[name](w, codes, 2)
    y = multiply(matrix)
    assert np.array_equal(np.concatenate(y) if isinstance(y, list) else y, reference(codes, w))


def test_a_row_of_the_kernels_counts_bytes_and_compares_with_the_faster_dense_product():
    """64 rows of 128 weights: float32 takes 4 bytes a weight; two bit planes a quarter of a byte and 4
    bytes a row, 1/32 more."""
    row = kernel_bench.measure(CONTENDERS, 64, 128, tokens=1, rounds=1, threads=2)
    assert row["shape"] == "64x128" and row["dense float32"]["bytes_per_weight"] == 4
    assert row["bit planes"]["bytes_per_weight"] == 0.25 + 1 / 32
    dense = min((row[name] for name in (kernel_bench.DENSE, kernel_bench.SHARED)), key=lambda r: r["ms"])
    assert dense["to_dense"] == 1
    assert np.isclose(row["bit planes"]["to_dense"], row["bit planes"]["ms"] / dense["ms"])
    assert "64x128, 1 token, median of 1 rounds" in kernel_bench.in_words(row, [kernel_bench.DENSE])


def test_a_prompt_is_read_side_by_side():
    row = prompt_bench.measure("tiny", 20, rounds=1, threads=1)
    assert row["tokens"] == 20 and row["ternary"]["to_eight"]["median"] == 1
    assert min(row[name]["tokens_per_s"] for name in prompt_bench.CONTENDERS) > 1


def test_whole_models_are_decoded_side_by_side():
    """The tiny shape, one round: both engines, their speeds.

    By pencil, in MB of 10^6 bytes: 936,988 - 28 numbers of 4 bytes are 3.748. Packed, these are 0.751:
    802,816 / 4 bytes of planes; for width 352 padded to 384, 4 x 128 x 32 / 4 more in down; 4 for each of
    4 x 1,344 rows; 4 x 131,072."""
    row = decode_bench.measure("tiny", rounds=1, threads=1)
    packed, dense = row[decode_bench.PACKED], row[decode_bench.FLOAT]
    assert packed["ours_to_this"]["median"] == 1 and dense["ours_to_this"]["median"] > 0
    assert min(packed["decode_tokens_per_s"], dense["prefill_tokens_per_s"]) > 1
    assert dense["weights_mb"] == 3.74784
    assert packed["weights_mb"] == (200_704 + 4_096 + 21_504 + 524_288) / 1e6
    in_16_bits = 2 * 131_072                                 # the integer engine's embedding and head
    assert row[decode_bench.INTEGER]["weights_mb"] == (200_704 + 4_096 + 21_504 + in_16_bits) / 1e6
    assert "tiny, context 256, 1 threads" in decode_bench.in_words(row)
    assert "packed engine" in decode_bench.in_words(row) and row["context"] == 256
