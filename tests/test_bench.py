import importlib.util
import operator
import os
import pstats
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from minibitnet import bench, exact
from minibitnet.errors import UserError
from minibitnet.measure import decode_bench, kernel_bench, results, step_profile, timing, train_bench
from minibitnet.inference.kernels import reference
from minibitnet.nn import ops
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer
from minibitnet.nn.optim import AdamW, clip_global_norm
from minibitnet.nn.training import Recorder, TrainConfig, loss_and_gradients, train
from minibitnet.text.batches import part_of
from minibitnet.text.streams import TokenStream


@pytest.fixture(autouse=True)
def nothing_pinned(monkeypatch):
    """``bench`` says so where one of these is set."""
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)


# ---- from times to figures

def took(monkeypatch, facts=None, **seconds):
    """From now on contenders take these seconds a step in their rounds, and each holds 100 MB."""
    results = {name.replace("_", " "): (times, facts or {}, 100.0) for name, times in seconds.items()}
    for module in (train_bench, kernel_bench, decode_bench):
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
    row = kernel_bench.measure([kernel_bench.DENSE, kernel_bench.SHARED, "bit planes"], 2, 5, tokens=1,
                               rounds=3, threads=2)
    assert row[kernel_bench.SHARED]["to_dense"] == 1 and row[kernel_bench.DENSE]["to_dense"] == 2
    assert row["bit planes"] == {"ms": 2000, "ns_per_weight": 2e8, "threads": 1, "to_dense": 0.5}


def test_a_row_of_decoding_by_pencil(monkeypatch):
    """A token takes the packed engine 1, 2 and 4 s, the float engine 2, 3 and 2 s: half a token a second
    each; 2, 1.5 and 0.5 of our time."""
    took(monkeypatch, packed_engine=[1, 2, 4], float_engine=[2, 3, 2], integer_engine=[8, 8, 8])
    row = decode_bench.measure("tiny", rounds=3, threads=1)
    assert (row[decode_bench.PACKED]["decode_tokens_per_s"]
            == row[decode_bench.FLOAT]["decode_tokens_per_s"] == 0.5)
    assert row[decode_bench.PACKED]["ours_to_this"]["median"] == 1
    assert row[decode_bench.FLOAT]["ours_to_this"]["median"] == 1.5


# ---- processes that take turns

class Pipe:
    """A pipe on whose other end the command says these words."""
    def __init__(self, *words):
        self.recv, self.sent = iter(words).__next__, []
        self.send = self.sent.append


def test_a_contender_is_warmed_by_three_steps_and_sends_the_time_of_one(monkeypatch):
    """Four steps in two seconds are half a second each."""
    monkeypatch.setattr(timing, "repeat", lambda step, seconds: (4, 2.0))
    calls, pipe = [], Pipe("go", "go", "stop")
    timing.work(pipe, 9, lambda word: (lambda: calls.append(word), {"tokens": 7}), "step")
    assert calls == ["step"] * 3 and pipe.sent[:3] == [{"tokens": 7}, 0.5, 0.5] and not pipe.sent[3] < 10


def test_a_contender_whose_command_is_gone_ends_without_a_word():
    def gone():
        raise EOFError
    pipe = Pipe()
    pipe.recv = gone
    timing.work(pipe, 9, lambda: (int, {}))
    assert pipe.sent == [{}]


def test_contenders_have_processes_of_their_own_and_take_turns():
    """Ours and its products alone, at the smallest size. (That ours is slower is for a quiet machine to
    show.)"""
    jobs = {name: (train_bench.training_step, name, "S", "float", 1)
            for name in (train_bench.OURS, train_bench.GEMMS)}
    results = timing.processes_take_turns(jobs, rounds=2, seconds=0)
    assert results.keys() == jobs.keys()
    for times, facts, peak in results.values():
        # NaN on Windows
        assert len(times) == 2 and min(times) > 0 and facts == {"tokens": 16 * 128} and not peak < 30


@pytest.mark.parametrize("make, message", [((operator.truediv, 1, 0), "second: division by zero"),
                                           ((operator.getitem, [], 3), "index out of range"),
                                           ((os._exit, 7), "the process of second ended early")])
def test_what_fails_in_a_process_is_told_once(make, message, capfd):
    """The command raises it as one line; the process that failed, and the one that waited meanwhile, print
    nothing."""
    with pytest.raises(UserError, match=message) as e:
        timing.processes_take_turns({"first": (kernel_bench.kernel_call, "bit planes", 4, 64, 1, 1),
                                     "second": make}, rounds=1, seconds=0)
    assert "\n" not in str(e.value) and capfd.readouterr().err == ""


def test_a_variable_that_pins_a_kernel_is_named(monkeypatch, capsys):
    """One line before the figures, and none where nothing is set."""
    for pinned in ({}, {"OPENBLAS_CORETYPE": "Haswell"},
                   {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"}):
        for name, value in pinned.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(bench, "train", lambda argv: 0)
        assert bench.main(["train"]) == 0
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == bool(pinned)
        assert all(f"{name}={value}" in lines[0] for name, value in pinned.items())


@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
@pytest.mark.parametrize("after", [0.6, 2.0])
def test_ctrl_c_is_told_in_one_word(after):
    """A terminal sends it to the command and to every contender, here while they start and while they take
    turns."""
    # after all imports
    run = "from minibitnet import _command, bench; print('ready', flush=True); _command.run(bench.main)"
    process = subprocess.Popen([sys.executable, "-c", run, "kernels", "--shapes", "64x64", "--rounds",
                                "100000"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(after)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:                           # not heard: it has 100,000 rounds to go
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130 and out == ""
    assert [line for line in err.splitlines() if "PyTorch is not installed" not in line] == ["interrupted"]


@pytest.mark.skipif(os.name == "nt", reason="signals as on POSIX")
def test_ctrl_c_while_a_process_starts_is_heard_afterwards():
    started = []
    process = SimpleNamespace(start=lambda: (os.kill(os.getpid(), signal.SIGINT),
                                             started.append("to the end")))
    with pytest.raises(KeyboardInterrupt):
        timing.start_deaf(process)
    assert started == ["to the end"]


# ---- what is measured

SMALL = ModelConfig(vocab_size=8, d_model=4, n_heads=1, d_ffn=6, n_layers=1, context=8, linear="float")


def test_the_floor_is_three_products_of_every_matrix_for_every_token(monkeypatch):
    """4 matrices of 4 x 4, 3 of 4 x 6 and a head of 8 x 4 have 168 weights; each meets each of 4 x 8 tokens
    in W x, W^T g and g x^T. What is transposed is no longer in the order of C."""
    counted = Counter()

    class Told(np.ndarray):
        def __array_ufunc__(self, ufunc, method, a, b):
            assert ufunc is np.matmul and a.shape[1] == len(b)
            counted[tuple("" if x.flags.c_contiguous else "T" for x in (a, b))] += a.size * b.shape[1]
    monkeypatch.setattr(train_bench, "np", SimpleNamespace(ones=lambda *a: np.ones(*a).view(Told),
                                                           float32=np.float32))
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
        assert np.array_equal(made[0].m[name], optimizer.m[name]) and np.array_equal(made[0].v[name],
                                                                                     optimizer.v[name]), name


# ---- where the time goes

def at(fn):
    """A function's key in a profile."""
    fn = getattr(fn, "__wrapped__", fn)
    return fn.__code__.co_filename, fn.__code__.co_firstlineno, fn.__name__


def built_in(name):
    return "~", 0, f"<built-in method {name}>"


def profiled(calls):
    """{function: (own time, whole time, {caller: whole time})} as pstats.Stats."""
    stats = pstats.Stats()
    stats.stats = {function: (1, 1, own, whole,
                              {caller: (1, 1, 0.0, part) for caller, part in callers.items()})
                   for function, (own, whole, callers) in calls.items()}
    return stats


def test_by_op_gives_numpys_time_to_the_op_that_called_it():
    """A hand-made profile: rms_norm 0.25 s, and 1 s in .sum(), which calls Python, which calls reduce;
    backward 0.5 s; AdamW 3 s, and 1 s in sum(), of which a generator of its own takes 0.75; 0.5 s of a
    built-in that a layer called."""
    rms_norm, method, reduce, total, repeat = at(ops.rms_norm), *map(built_in,
                                                                     ("sum of ndarray", "reduce", "sum",
                                                                      "repeat"))
    inner = (f"{np.__path__[0]}/_core/_methods.py", 50, "_sum")
    step, generator, layer, backward = ("/x/optim.py", 5,
                                        "step"), ("/x/optim.py", 7, "<genexpr>"), ("/x/layers.py", 3,
                                                                                   "f"), ("/x/autograd.py",
                                                                                          9, "backward")
    stats = profiled({rms_norm: (0.25, 1.25, {}), method: (0.1, 1.0, {rms_norm: 1.0}),
                      inner: (0.1, 0.9, {method: 0.9}), reduce: (0.8, 0.8, {inner: 0.8}),
                      backward: (0.5, 0.5, {}), step: (3.0, 4.0, {}), total: (0.25, 1.0, {step: 1.0}),
                      generator: (0.75, 0.75, {total: 0.75}),
                      repeat: (0.5, 0.5, {layer: 0.5})})
    assert step_profile.by_op(stats) == {"rms_norm": 1.25, "sums on the tape": 0.5, "AdamW, clipping": 4.0,
                                         step_profile.PYTHON: 0.5}
    assert sum(step_profile.by_op(stats).values()) == sum(own for _, _, own, _, _ in stats.stats.values())


def test_by_op_gives_exact_arithmetics_time_to_the_op_that_called_it_and_products_to_themselves():
    """A hand-made profile: linear 0.5 s, 2 s in fine_product, of which product takes 1.5 and a cast 0.25,
    and 0.25 s in product itself; attention 1 s, 4 s in fine_product, of which product takes 3.5 and a cast
    0.25; rms_norm 0.25 s, and 1 s in total, of which NumPy takes 0.75; a layer 0.125 s, and 0.5 s in
    operand, of which a named tuple takes 0.125 and a tuple in it another 0.125."""
    linear, attention, rms_norm, layer = (at(ops.linear), at(ops.causal_attention), at(ops.rms_norm),
                                          ("/x/layers.py", 3, "quantized"))
    fine_product, product, total, operand = map(at, (exact.fine_product, exact.product, exact.total,
                                                     exact.operand))
    cast, reshape, made = map(built_in, ("astype", "reshape", "tuple.__new__"))
    named = "<string>", 1, "<lambda>"
    stats = profiled({linear: (0.5, 2.75, {}), attention: (1.0, 5.0, {}), rms_norm: (0.25, 1.25, {}),
                      layer: (0.125, 0.625, {}),
                      fine_product: (0.5, 6.0, {linear: 2.0, attention: 4.0}),
                      product: (5.25, 5.25, {fine_product: 5.0, linear: 0.25}),
                      cast: (0.5, 0.5, {fine_product: 0.5}), total: (0.25, 1.0, {rms_norm: 1.0}),
                      reshape: (0.75, 0.75, {total: 0.75}),
                      operand: (0.25, 0.5, {layer: 0.5}), named: (0.125, 0.25, {operand: 0.25}),
                      made: (0.125, 0.125, {named: 0.125})})
    assert step_profile.by_op(stats) == {"linear": 0.5, step_profile.PRODUCTS: 2.25,
                                         step_profile.ATTENTION: 5.0, "rms_norm": 1.25, "ready": 0.5,
                                         step_profile.PYTHON: 0.125}
    assert sum(step_profile.by_op(stats).values()) == sum(own for _, _, own, _, _ in stats.stats.values())


def test_a_profile_of_our_step_names_every_second(monkeypatch):
    """What it says of the ops is all that the profiler saw, and nothing is left to Python that an op does:
    products, attention, norms ..."""
    seen = []
    monkeypatch.setattr(step_profile, "task", lambda size, linear: (SMALL, *np.zeros((2, 4, 8), int)))
    monkeypatch.setattr(step_profile.pstats, "Stats",
                        lambda profiler, make=pstats.Stats: seen.append(make(profiler)) or seen[0])
    row = step_profile.profile("S", "float")
    assert sum(row["by_op"].values()) == pytest.approx(1e3 * seen[0].stats[at(timing.repeat)][3] / 4,
                                                       rel=1e-3)
    assert {step_profile.PRODUCTS, step_profile.ATTENTION, "rms_norm", "rope", "swiglu", "cross_entropy",
            "ready", "linear", "head", "AdamW, clipping",
            "sum over shards"} < row["by_op"].keys()
    assert min(row["by_op"].values()) > 0 and row["ms"] > 0 and row["system_ms"] >= 0


def test_profiles_are_columns_that_add_up():
    """3 of 4 ms are 75 %; an op that took next to no time anywhere has no line, one that a column lacks has
    0."""
    rows = [{"size": "S", "linear": linear, "ms": 3.5, "system_ms": 0.1, "by_op": by_op}
            for linear, by_op in (("ternary", {"linear": 3.0, "add": 1.0, "rope": 0.001}),
                                  ("float", {"linear": 8.0}))]
    lines = [line.split() for line in step_profile.in_words(rows).splitlines()]
    assert [words[0] for words in lines] == ["ms", "linear", "add", "in", "by", "..."]
    assert lines[1][1:] == ["3.0", "75.0%", "8.0", "100.0%"]
    assert lines[2][1:] == ["1.0", "25.0%", "0.0", "0.0%"]


# ---- flags

@pytest.mark.parametrize("argv, words", [
    ("train --profile --rounds=3 --threads 2", ["--profile", "expected no --rounds and no --threads"]),
    ("train --profile --compile", ["no --compile"]),
    ("train --shapes 3x4", ["unknown argument --shapes"]),
    ("kernels --profile", ["unknown argument --profile"]),
    ("decode --tokens 7", ["unknown argument --tokens"]),
    ("decode --sizes S", ["unknown argument --sizes"]), ("trian", ["'trian'", "'train'"]),
    ("train --threads 100000", ["--threads", "100000: expected at most"]),
    ("kernels --shapes 1x140000", ["1x140000: expected fewer inputs"]),
    ("kernels --shapes 200000x100000", ["expected at most 536,870,912 weights"]),
])
def test_a_flag_that_would_mean_nothing_is_refused(argv, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        bench.main(argv.split())
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and all(word in err for word in words), err


def test_a_profile_is_a_table_or_one_object_a_row(monkeypatch, capsys):
    monkeypatch.setattr(step_profile, "profile",
                        lambda size, linear: {"size": size, "linear": linear, "ms": 2.0, "system_ms": 0.0,
                                              "by_op": {"add": 1.0}})
    assert bench.main(["train", "--profile", "--sizes", "S", "L", "--linear", "float", "--json"]) == 0
    assert [bench.json.loads(line)["size"] for line in capsys.readouterr().out.splitlines()] == ["S", "L"]
    assert bench.main(["train", "--profile", "--sizes", "S", "L", "--linear", "float"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["ms", "a", "step,", "one", "thread", "S",
                                                               "float", "L", "float"]


# ---- the kernels


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
    row = kernel_bench.measure([kernel_bench.DENSE, kernel_bench.SHARED, "bit planes"], 64, 128, tokens=1,
                               rounds=1, threads=2)
    assert row["shape"] == "64x128" and row["dense float32"]["bytes_per_weight"] == 4
    assert row["bit planes"]["bytes_per_weight"] == 0.25 + 1 / 32
    dense = min((row[name] for name in (kernel_bench.DENSE, kernel_bench.SHARED)), key=lambda r: r["ms"])
    assert dense["to_dense"] == 1
    assert np.isclose(row["bit planes"]["to_dense"], row["bit planes"]["ms"] / dense["ms"])
    assert "64x128, 1 token, median of 1 rounds" in kernel_bench.in_words(row, [kernel_bench.DENSE])


def test_shapes_are_outputs_x_inputs():
    assert bench.shape("2560x6912") == (2560, 6912)
    for bad in ("2560", "2560x", "0x5", "axb", "2x3x4"):
        with pytest.raises(bench.argparse.ArgumentTypeError, match=f"{bad}: expected outputs x inputs"):
            bench.shape(bad)


def test_whole_models_are_decoded_side_by_side():
    """The tiny shape, one round: both engines, their speeds. By pencil, in MB of 10^6 bytes: 936,988 - 28
    numbers of 4 bytes are 3.748; packed, 802,816 / 4 bytes of planes, for width 352 padded to 384 (down 4 x
    128 x 32 / 4 more), 4 for each of 4 x 1,344 rows, 4 x 131,072 are 0.751."""
    row = decode_bench.measure("tiny", rounds=1, threads=1)
    packed, dense = row[decode_bench.PACKED], row[decode_bench.FLOAT]
    assert packed["ours_to_this"]["median"] == 1 and dense["ours_to_this"]["median"] > 0
    assert min(packed["decode_tokens_per_s"], dense["prefill_tokens_per_s"]) > 1
    assert dense["weights_mb"] == 3.74784
    assert packed["weights_mb"] == (200_704 + 4_096 + 21_504 + 524_288) / 1e6
    # embedding and head in 16 bits
    assert row[decode_bench.INTEGER]["weights_mb"] == (200_704 + 4_096 + 21_504 + 2 * 131_072) / 1e6
    assert "tiny, context 256, 1 threads" in decode_bench.in_words(row)
    assert "packed engine" in decode_bench.in_words(row) and row["context"] == 256


# ---- records

ROW = {"shape": "64x64", "tokens": 1, "threads": 1, "rounds": 2,
       **{name: {"threads": 1, "ms": 1.0, "ns_per_weight": 1.0,
       "bytes_per_weight": 4.0, "to_dense": float("nan")} for name in kernel_bench.KERNELS}}
ARGV = ["kernels", "--shapes", "64x64", "--rounds", "2", "--threads", "1", "--record", "kernels-a"]


def test_a_record_says_what_was_typed_where_and_when(tmp_path, monkeypatch, capsys):
    """Beside what is printed, data/results/NAME.json; what a system does not tell (NaN) becomes null."""
    monkeypatch.setattr(results, "home", lambda: tmp_path / "results")
    monkeypatch.setattr(kernel_bench, "measure", lambda *args: ROW)
    assert bench.main(ARGV) == 0 and capsys.readouterr().out.startswith("64x64, 1 token, median of 2 rounds")
    record = results.load("kernels-a")
    assert record["name"] == "kernels-a"
    assert record["command"] == "python -m minibitnet.bench " + " ".join(ARGV)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"]) and record["seconds"] >= 0
    assert record["environment"].keys() >= {"numpy", "blas", "platform", "cpus"}
    assert record["result"]["config"] == {"shapes": [[64, 64]], "tokens": 1, "rounds": 2, "threads": 1}
    assert [row["shape"] for row in record["result"]["rows"]] == ["64x64"]
    assert record["result"]["rows"][0]["bit planes"] == ROW["bit planes"] | {"to_dense": None}
    assert results.origin(record).endswith(record["date"])
    assert bench.main(ARGV) == 0                             # a record of ours is replaced


def test_a_profile_is_recorded_as_rows(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    monkeypatch.setattr(step_profile, "profile",
                        lambda size, linear: {"size": size, "linear": linear, "ms": 2.0,
                                                                       "system_ms": 0.0,
                                              "by_op": {"add": 1.0}})
    assert bench.main(["train", "--profile", "--sizes", "S", "M", "--linear", "float", "--record", "p"]) == 0
    record = results.load("p")["result"]
    assert [row["size"] for row in record["rows"]] == ["S", "M"]
    assert capsys.readouterr().out.count("ms a step") == 1
    assert record["config"]["profile"] is True and record["config"]["threads"] == 1


def test_a_record_takes_no_experiments_place(tmp_path, monkeypatch):
    """Said before anything is measured."""
    monkeypatch.setattr(results, "home", lambda: tmp_path)
    results.save(tmp_path / "kernels-a.json", results.envelope("kernels-a", {"config": {}}, 1))
    with pytest.raises(UserError, match="is what python -m minibitnet.reproduce kernels-a --full found: "
                                        "expected another"):
        bench.main(ARGV)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A", "x.json", "-x"])
def test_a_record_has_a_name_and_no_path(name, capsys):
    with pytest.raises(SystemExit, match="2"):
        bench.main(["kernels", f"--record={name}"])
    assert "expected a name of small letters" in capsys.readouterr().err
