"""What the commands refuse, in one line each, and streams and disks that fail."""
import os
import shutil
import signal
import subprocess
import sys

import pytest

from running import SMALL, command, fails

posix = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell and limits of files")


def test_the_list_of_commands_is_complete(home):
    result = subprocess.run([sys.executable, "-m", "minibitnet"], capture_output=True, text=True, cwd=home)
    for name in ("train", "evaluate", "generate", "pack", "data", "tokenizer", "reproduce", "bench"):
        assert f"minibitnet.{name}" in result.stdout
        assert command(name, "--help", cwd=home).returncode == 0


MISTAKES = {
    "a corpus that is not there": (["--data", "absent.txt"], ["absent.txt", "does not exist"]),
    "a corpus that is a folder": (["--data", "."], ["is a directory"]),
    "an empty corpus": (["--data", "empty.txt"], ["empty.txt", "is empty"]),
    "a corpus shorter than the context":
        (["--data", "short.txt"], ["12 tokens", "10 of them", "at least 17"]),
    "heads that do not divide the width": (["--n-heads", "3"], ["n_heads = 3", "d_model = 16"]),
    "a run that is there": (["--out", "run"], ["run holds a finished run", "--resume run", "--overwrite"]),
    "a file where the run should go": (["--out", "text.txt/run"], ["text.txt is in the way, a file"]),
    "a config that is not there": (["--config", "absent.json"], ["absent.json", "is not there"]),
    "a config with an unknown option":
        (["--config", "unknown.json"], ["unknown option 'd_modle'", "'d_model'"]),
    "a config with a word for a number": (["--config", "word.json"], ["d_model = \"big\"", "expected int"]),
    "a config that is no JSON": (["--config", "text.txt"], ["text.txt", "expected a JSON object"]),
    "an absent tokenizer file": (["--tokenizer", "bpe"], ["tokenizer 'bpe'", "expected char, byte"]),
    "a vocabulary that is not the tokenizer's": (["--vocab-size", "7"], ["vocab_size = 7"]),
    "a step beyond any memory": (["--batch", "1000000"], ["batch = 1,000,000", "mistyped"]),
    "a corpus without a name": (["--data", ""], ["no corpus was named"]),
    "a model beyond any memory": (["--d-model", "65536", "--n-layers", "1000"], ["parameters", "mistyped"]),
    "a resume of nothing": (["--resume", "absent"], ["absent/config.json is not there"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_1(mistake, here):
    (here / "empty.txt").write_bytes(b"")
    (here / "short.txt").write_text("a short text")
    (here / "unknown.json").write_text('{"model": {"d_modle": 3}}')
    (here / "word.json").write_text('{"model": {"d_model": "big"}}')
    args, words = MISTAKES[mistake]
    before = (here / "run/last.safetensors").read_bytes()
    small = [] if "--resume" in args or "--config" in args else SMALL
    data = [] if "--data" in args or "--resume" in args else ["--data", "text.txt"]
    fails(1, *words, args=[*data, *small, *args], cwd=here)
    assert (here / "run/last.safetensors").read_bytes() == before


def test_usage_errors_exit_2_and_name_the_nearest_flag(home):
    fails(2, "--d-modle", "did you mean --d-model?", args=["--d-modle", "8"], cwd=home)
    fails(2, "--modl", "did you mean --model?", module="generate", args=["--modl", "run"], cwd=home)
    fails(2, "--temp", "did you mean --temperature?",
          module="generate", args=["--model", "run", "--prompt", "a", "--temp", "0"], cwd=home)
    fails(2, "invalid choice: 'trinary'", args=["--linear", "trinary"], cwd=home)
    fails(2, "invalid int value: 'x'", args=["--steps", "x"], cwd=home)
    fails(2, "--tokens: 'x': expected a whole number from 1 upwards",
          module="generate", args=["--model", "run", "--prompt", "a", "--tokens", "x"], cwd=home)
    fails(2, "--tiny", "do not go with it", args=["--resume", "run", "--tiny"], cwd=home)


def test_generate_and_evaluate_refuse_what_they_cannot_use(here):
    def refused(*args, words):
        fails(1, *words, module="generate", args=["--model", "run", *args], cwd=here)
    refused("--prompt", "Ünknown",
            words=["2 of 7 characters are unknown to this model's character tokenizer", "'Ü'"])
    refused("--prompt", "", words=["an empty prompt"])
    refused("--prompt", "the", "--temperature", "-1", words=["temperature = -1"])
    refused("--prompt", "the", "--top-p", "0", words=["top_p = 0"])
    refused("--prompt", "the", "--top-k", "-2", words=["top_k = -2"])
    refused("--prompt", "the", "--seed", "-1", words=["seed = -1"])
    fails(1, "absent is not there", module="generate", args=["--model", "absent", "--prompt", "x"], cwd=here)
    fails(1, "text.txt is not a directory", module="evaluate", args=["--model", "text.txt"], cwd=here)
    fails(2, "--prompt", module="generate", args=["--model", "run"], cwd=here)
    (here / "tokenizer.json").write_text("{}")
    shutil.copy(here / "tokenizer.json", here / "run/tokenizer.json")
    fails(1, "tokenizer.json", module="evaluate", args=["--model", "run"], cwd=here)


def test_a_text_without_text_is_not_said_to_be_for_training(here):
    (here / "empty.txt").write_bytes(b"")
    score = ["--model", "run", "--data", "empty.txt"]
    fails(1, "corpus 'empty.txt' is empty: expected text", module="evaluate", args=score, cwd=here)
    assert "train on" not in command("evaluate", *score, cwd=here).stderr


# ---- streams and disks

def test_a_closed_pipe_ends_quietly(here):
    """`generate | head -c 1`: no traceback."""
    generate = [sys.executable, "-m", "minibitnet.generate"]
    process = subprocess.Popen([*generate, "--model", "run", "--prompt", "the", "--tokens", "2000"], cwd=here,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.read(1)
    process.stdout.close()
    assert "Traceback" not in process.stderr.read() and process.wait() == 141
    process.stderr.close()


@posix
def test_closed_streams_are_no_error(here):
    for closed in (">&-", "2>&-"):
        generate = f"{sys.executable} -m minibitnet.generate --model run --prompt the --tokens 3 {closed}"
        result = subprocess.run(generate, shell=True, cwd=here, capture_output=True)
        assert result.returncode == 0 and b"Traceback" not in result.stderr


def train_with_files_of_at_most(n, *args, cwd):
    """Train where a file cannot grow beyond n bytes, as on a full disk."""
    import resource

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n, n))
    return command("train", "--data", "text.txt", *args, *SMALL, cwd=cwd, preexec_fn=limit)


@posix
def test_a_full_disk_is_one_line_and_keeps_what_was_saved(here):
    """Files may grow to 2 kB only: the first checkpoint fails; config and tokenizer, written before, stay."""
    result = train_with_files_of_at_most(2000, "--out", "full", cwd=here)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "cannot write" in lines[-1] and "bytes needed" in lines[-1] and "safetensors" in lines[-1]
    assert (here / "full/config.json").exists() and not list((here / "full").glob("*.tmp-*"))


@posix
def test_overwriting_onto_a_full_disk_keeps_the_old_run(here):
    old = (here / "run/last.safetensors").read_bytes()
    result = train_with_files_of_at_most(100, "--out", "run", "--overwrite", cwd=here)
    assert result.returncode == 1 and (here / "run/last.safetensors").read_bytes() == old


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a folder that refuses this user")
def test_a_read_only_folder_is_one_line(here):
    (here / "locked").mkdir(mode=0o500)
    fails(1, "locked", args=["--data", "text.txt", "--out", "locked/run", *SMALL], cwd=here)
