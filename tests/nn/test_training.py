import math
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from minibitnet.errors import NonFiniteError, UserError
from minibitnet.formats import checkpoint
from minibitnet.formats.rundir import RunDirectory
from minibitnet.nn import ste, training
from minibitnet.nn.autograd import backward, record
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.nn.optim import AdamW
from minibitnet.nn.training import (Recorder, TrainConfig, code_statistics, codes_of, default_lr,
                                    loss_and_gradients, mean_loss, schedule, train, with_defaults)
from minibitnet.text.batches import part_of
from minibitnet.text.streams import TokenStream
from minibitnet.text.tokenizer import ByteTokenizer
from minibitnet.threads import pool_of
from minibitnet.variants import VARIANTS

SMALL = ModelConfig(vocab_size=13, d_model=16, n_layers=1, n_heads=2, context=8)
TOKENS = np.random.default_rng(5).integers(0, 13, 600)
TRAINING, VALIDATION = (part_of(TokenStream(tokens, None), 8) for tokens in (TOKENS[:500], TOKENS[500:]))
TEST_CONFIG = with_defaults(TrainConfig(steps=12, batch=4, log_every=2, eval_every=5, save_every=4), SMALL)


def start(tmp_path, name="run", model_config=SMALL, c=TEST_CONFIG, **options):
    """A fresh run of twelve small steps -> (run directory, its model, steps done)."""
    run = RunDirectory(tmp_path / name)
    settings = {"model": {}, "train": {"steps": c.steps}, "corpus": {}}
    run.create(settings, ByteTokenizer())
    model = Transformer(model_config, c.seed)
    done = train(model, AdamW(model.parameters()), c, TRAINING, Recorder(run, settings, VALIDATION, 99),
                 **options)
    run.close()
    return run, model, done


@pytest.mark.parametrize("linear", VARIANTS)
def test_the_number_of_threads_changes_no_byte(linear, tmp_path, monkeypatch):
    """Four shards, so that four threads all have one."""
    monkeypatch.setattr(training, "SHARD_TOKENS", 8)
    assert training.number_of_shards(4, 8) == 4
    config = ModelConfig(vocab_size=13, d_model=16, n_layers=1, n_heads=2, context=8, linear=linear)
    files = [start(tmp_path, str(n), config, threads=n)[0].last.read_bytes() for n in (1, 2, 4)]
    assert files[0] == files[1] == files[2]


def test_the_first_stage_has_eight_bits(tmp_path, monkeypatch):
    """Of twelve steps nine; the finished model has four. What is transformed before stays so."""
    seen, usual = [], training.loss_and_gradients

    def watched(quantized, *batch):
        layer = quantized.layers[0].mlp.down_proj
        seen.append((layer.quantize_input, layer.rotated))
        return usual(quantized, *batch)
    monkeypatch.setattr(training, "loss_and_gradients", watched)
    _, model, _ = start(tmp_path, "run", replace(SMALL, linear="v2"), replace(TEST_CONFIG, a8_share=0.75))
    assert seen == 9 * [(ste.int8_activation, True)] + 3 * [(ste.int4_activation, True)]
    assert model.quantized().layers[0].mlp.down_proj.quantize_input is ste.int4_activation
    seen.clear()
    start(tmp_path, "ternary", c=replace(TEST_CONFIG, a8_share=0.0))
    assert seen == 12 * [(ste.int8_activation, False)]


@pytest.mark.parametrize("stop_at", range(1, 12))
@pytest.mark.parametrize("config", [SMALL, replace(SMALL, linear="v2")], ids=["ternary", "v2"])
def test_resuming_after_any_step_gives_the_bytes_of_the_uninterrupted_run(config, stop_at, tmp_path):
    """Interrupted after step k, taken up by new objects from the file: last, best and the metrics (but for
    times) are the same. v2 has 8 bits for the first nine steps."""
    c = replace(TEST_CONFIG, a8_share=0.75)
    whole, _, _ = start(tmp_path, "whole", config, c)
    seen = iter(range(1, 99))
    part, _, done = start(tmp_path, "part", config, c, stopped=lambda: next(seen) == stop_at)
    assert done == stop_at
    saved, note = part.resume({"model": {}, "train": {"steps": 12}, "corpus": {}})
    part.cut_metrics(saved.step)
    assert saved.step == stop_at and note is None
    model = Transformer(config, 99)  # other initial weights: all must come from the file
    optimizer = AdamW(model.parameters())
    for ours, theirs in ((({k: p.data for k, p in model.parameters().items()}), saved.parameters),
                         (optimizer.m, saved.m), (optimizer.v, saved.v)):
        checkpoint.copy_into(ours, theirs, part.last)
    optimizer.t = saved.step
    train(model, optimizer, c, TRAINING,
          Recorder(part, saved.config, VALIDATION, 99, done=saved.step, best=saved.best_val_loss))
    part.close()
    assert part.last.read_bytes() == whole.last.read_bytes()
    assert part.best.read_bytes() == whole.best.read_bytes()
    timeless = [[{k: v for k, v in line.items() if k != "tokens_per_s"} for line in run.metrics()]
                for run in (whole, part)]
    assert timeless[0] == timeless[1]


def test_metrics_have_the_promised_keys(tmp_path):
    lines = start(tmp_path)[0].metrics()
    assert [line["step"] for line in lines] == [2, 4, 5, 6, 8, 10, 12]
    always = {"step", "tokens", "loss", "ppl", "lr", "weight_decay", "grad_norm", "tokens_per_s"}
    assert lines[0].keys() == always | {"zero_fraction", "flip_rate"}
    assert lines[-1].keys() == always | {"zero_fraction", "flip_rate", "val_loss", "val_ppl", "bits_per_byte",
                                         "floor"}
    assert lines[-1]["tokens"] == 12 * 4 * 8 and lines[-1]["ppl"] == math.exp(lines[-1]["loss"])
    assert lines[-1]["bits_per_byte"] == pytest.approx(lines[-1]["val_loss"] * 99 / math.log(2) / 99)
    assert 0 < lines[0]["zero_fraction"] < 1 and 0 < lines[0]["flip_rate"] < 1
    assert [line["weight_decay"] for line in lines] == [0.1, 0.1, 0.1, 0.1, 0, 0, 0]     # off at half time


@pytest.mark.parametrize("padding", [(5, 0), (1, 1), (3, 0)], ids=["none", "uneven", "a whole shard"])
def test_sharded_gradients_are_the_gradients_of_the_whole_batch(padding, rng):
    """Summed over two shards of 3 and 2 sequences, against one tape over all. Each puts its gradients on
    grids of its own, which keep 12 bits of a norm: they differ by about 2^-12 of the largest. A shard weighs
    what its targets are of all: 24 and 16 of 40, with padding 10 and 2 of 12, or 24 and none."""
    model, (ids, targets) = Transformer(SMALL), rng.integers(0, 13, (2, 5, 8))
    first, columns = padding
    targets[first:, columns:] = -1
    quantized = model.quantized(training=True)
    with ThreadPoolExecutor(2) as pool:
        loss, grads = loss_and_gradients(quantized, ids, targets, pool)
    with record() as tape:
        whole = quantized.loss(ids, targets)
    expected = backward(tape, whole)
    assert loss == pytest.approx(float(whole.data), rel=1e-5)
    for name, p in quantized.parameters().items():
        assert np.allclose(grads[name], expected[p.key], rtol=0, atol=2**-10 * np.abs(expected[p.key]).max())


@pytest.mark.parametrize("linear", VARIANTS)
def test_the_loss_falls(linear, rng):
    """Thirty steps on one batch of random tokens: from about ln 13 = 2.56, which is all that can be known of
    new ones, to less than half."""
    model, (ids, targets) = Transformer(replace(SMALL, linear=linear)), rng.integers(0, 13, (2, 4, 8))
    optimizer = AdamW(model.parameters())
    with ThreadPoolExecutor(1) as pool:
        for _ in range(30):
            loss, grads = loss_and_gradients(model.quantized(training=True), ids, targets, pool)
            optimizer.step(grads, lr=0.02, weight_decay=0.0)
    assert loss < math.log(13) / 2


def test_mean_loss_scores_every_token_once(rng):
    """Windows of 8 and a last one of 3, each scored by hand, token by token."""
    quantized, tokens = Transformer(SMALL).quantized(), TOKENS[:20]
    expected = 0.0
    for at in (0, 8, 16):
        ids, targets = tokens[at:at + 8][:19 - at], tokens[at + 1:at + 9]
        logits = quantized(ids[None]).data[:, 0].astype(float)
        expected -= sum(logits[t, i] - np.log(np.exp(logits[:, i]).sum()) for i, t in enumerate(targets))
    with ThreadPoolExecutor(2) as pool:
        loss = mean_loss(quantized.losses, part_of(TokenStream(tokens, None), 8), pool, 8)
    assert loss == pytest.approx(expected / 19, rel=1e-5)


def test_mean_loss_counts_no_padding(rng):
    """Two documents of 3 and 5 tokens between ends (id 0): targets 4 + 6, each scored in a window of its own
    document alone."""
    quantized, tokens = Transformer(SMALL).quantized(), np.array([0, 4, 7, 2, 0, 1, 9, 9, 3, 5, 0])
    expected = 0.0
    for ids, targets in ((tokens[:4], tokens[1:5]), (tokens[4:10], tokens[5:])):
        expected += float(quantized.loss(ids[None], targets[None]).data) * len(targets)
    with ThreadPoolExecutor(1) as pool:
        loss = mean_loss(quantized.losses, part_of(TokenStream(tokens, np.array([0, 4])), 8), pool, 8)
    assert loss == pytest.approx(expected / 10, rel=1e-6)


def test_an_evaluation_that_overflows_is_infinite_and_warns_of_nothing():
    """On a thread of the pool, where NumPy would warn (and the tests' settings make that an error): 3e38 * 10
    has no float32."""
    with ThreadPoolExecutor(1) as pool:
        assert mean_loss(lambda ids, targets: np.float32([3e38]) * np.float32(10), VALIDATION,
                         pool, 8) == math.inf


@pytest.mark.parametrize("linear", VARIANTS)
@pytest.mark.parametrize("starts", [None, np.arange(0, 480, 13)], ids=["a line", "documents"])
def test_how_much_is_read_at_once_changes_no_bit_of_a_loss(linear, starts):
    part = part_of(TokenStream(TOKENS[:494], starts), 8)
    quantized = Transformer(replace(SMALL, linear=linear)).quantized()
    with ThreadPoolExecutor(2) as pool:
        losses = {mean_loss(quantized.losses, part, pool, tokens) for tokens in (1, 8, 24, 40, 9999)}
    assert len(losses) == 1


def test_shards_of_an_evaluation_by_pencil():
    """16 rows of 8 in at most 25 tokens: 3 rows at a time, six shards. A step of 4 x 256 tokens has shards of
    512; with a vocabulary of 20,000 an evaluation reads no more than a shard of training's, 64 tokens of a
    step of 1 x 64, with one of 128 as many as 512."""
    shards = training.in_shards(np.zeros((2, 16, 8)), 25)
    assert [ids.shape for ids, _ in shards] == [(3, 8)] * 4 + [(2, 8)] * 2
    for vocab_size, batch, context, tokens in ((20_000, 4, 256, 512), (20_000, 1, 64, 64), (128, 1, 64, 512)):
        c = replace(SMALL, vocab_size=vocab_size, context=context)
        assert training.tokens_at_once(batch, c) == tokens


@pytest.mark.parametrize("batch, context", [(1, 64), (5, 64), (16, 64), (7, 150)])
def test_an_evaluation_takes_no_more_memory_than_a_step(batch, context):
    """On one thread (of several the peaks may or may not meet): a large vocabulary, mostly logits."""
    config = replace(SMALL, vocab_size=20_000, context=context)
    tokens = np.arange(3700) % 4000
    part, model = part_of(TokenStream(tokens, None), context), Transformer(config)
    optimizer, quantized = AdamW(model.parameters()), model.quantized(training=True)
    recorder = Recorder(None, {}, part, 99)

    def peak(call):
        tracemalloc.start()
        call()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    with pool_of(1) as pool:
        rows = part.random(0, seed=0, batch=batch)
        stepping = peak(lambda: training.step(model, quantized, optimizer, rows, pool, lr=0.01,
                                              weight_decay=0.1, clip=1.0))
        at_once = training.tokens_at_once(batch, config)
        assert peak(lambda: recorder.evaluate(model.quantized(), pool, at_once)) < 1.1 * stepping


def test_a_pool_is_not_given_a_whole_corpus_at_once():
    class Counting:
        stream, n_targets, drawn = VALIDATION.stream, 9999 * 8, 0

        def all(self, rows):
            for _ in range(9999):
                self.drawn += 1
                yield np.zeros((1, 8), int), np.zeros((1, 8), int)
    part = Counting()

    def losses(ids, targets):
        assert part.drawn <= done[0] + training.AHEAD
        done[0] += 1
        return np.ones(8, np.float32)
    done = [0]
    with ThreadPoolExecutor(2) as pool:
        assert mean_loss(losses, part, pool, 8) == 1


def test_a_non_finite_loss_stops_before_the_step_and_before_any_save(tmp_path):
    """A poisoned weight: NonFiniteError names the step; no weight moves and no checkpoint is written."""
    run = RunDirectory(tmp_path / "run")
    settings = {"model": {}, "train": {"steps": 12}, "corpus": {}}
    run.create(settings, ByteTokenizer())
    model = Transformer(SMALL)
    model.layers[0].mlp.up_proj.weight.data[0, 0] = np.nan
    before = model.embed_tokens.weight.data.copy()
    with pytest.raises(NonFiniteError,
                       match="step 1: NaN, infinity or numbers too large to add up.*"
                                             "nothing was saved, there is no checkpoint yet"):
        train(model, AdamW(model.parameters()), TEST_CONFIG, TRAINING,
              Recorder(run, settings, VALIDATION, 99))
    run.close()
    assert np.array_equal(model.embed_tokens.weight.data, before) and not run.last.exists()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """A learning rate of 1e38 gives infinite weights in a step whose own loss is fine; the checkpoint of step
    4 stays the last one."""
    run = RunDirectory(tmp_path / "run")
    settings = {"model": {}, "train": {"steps": 12}, "corpus": {}}
    run.create(settings, ByteTokenizer())
    model = Transformer(SMALL)
    optimizer = AdamW(model.parameters())
    steps = iter(range(1, 99))
    gentle = optimizer.step

    def once_violent(grads, lr, weight_decay):
        gentle(grads, 1e38 * 1e9 if next(steps) == 8 else lr, weight_decay)
    optimizer.step = once_violent
    with pytest.raises(NonFiniteError, match="last.safetensors holds step 4"):
        train(model, optimizer, TEST_CONFIG, TRAINING, Recorder(run, settings, VALIDATION, 99))
    run.close()
    assert checkpoint.load(run.last).step == 4 and run.best.exists()


def test_code_statistics_by_pencil():
    """Codes 0 1 -1 become 0 0 -1: two thirds zeros after, one third changed."""
    model = Transformer(SMALL)
    before, after = (codes_of(model.quantized()) for _ in range(2))
    for found, first in ((before, 1), (after, 0)):
        for codes in found:
            codes[...] = np.resize([0, first, -1], codes.shape)
    zeros, flips = code_statistics(before, after)
    assert zeros == pytest.approx(2 / 3, abs=0.01) and flips == pytest.approx(1 / 3, abs=0.01)
    float_model = Transformer(ModelConfig(vocab_size=13, d_model=16, n_layers=1, n_heads=2, context=8,
                                          linear="float"))
    assert code_statistics(codes_of(float_model.quantized()), []) == (None, None)


def test_schedules_use_the_filled_in_defaults():
    """lr falls with the root of the width; two-stage's second peak is two thirds; weight decay goes off at
    half; cosine keeps it."""
    wide = ModelConfig(vocab_size=13, d_model=512, n_layers=1, n_heads=2, context=8)
    c = with_defaults(TrainConfig(steps=100), wide)
    assert c.lr == default_lr("ternary", 128) / 2 and c.second_lr == pytest.approx(c.lr * 2 / 3)
    assert c.warmup == 2
    assert schedule(c, 49) == (pytest.approx(c.lr * 0.51), 0.1)
    assert schedule(c, 50) == (pytest.approx(c.second_lr * 0.5), 0)
    assert schedule(with_defaults(TrainConfig(steps=100, schedule="cosine"), wide), 99)[1] == 0.1


@pytest.mark.parametrize("bad", [{"steps": 0}, {"batch": 0}, {"lr": -1.0}, {"lr": float("nan")},
                                 {"val_fraction": 1.0}, {"seed": -1},
                                 {"schedule": "step"}, {"beta1": 1.0}])
def test_configurations_out_of_range_are_one_line(bad):
    with pytest.raises(UserError, match=f"{next(iter(bad))} = "):
        TrainConfig(**bad)
