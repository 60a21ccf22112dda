"""What is typed, and what is printed to be typed."""
import os
import re
import shlex
import subprocess
import sys

import pytest

from minibitnet import __main__, _command
from minibitnet.errors import UserError
from minibitnet.files import typed
from minibitnet.nn.config import ModelConfig
from running import SMALL, command, fails

ODD = "it's a $HOME \"run\""


# ---- printed commands

def test_a_printed_flag_is_one_for_a_shell():
    for value in ("plain", ODD, "two\nlines", "", "-dash", "--- x", "*", "über"):
        words = shlex.split(typed("--prompt", value))
        assert words in (["--prompt", value], [f"--prompt={value}"])
        parser = _command.Parser("generate", "")
        parser.add_argument("--prompt")
        assert parser.parse_args(words).prompt == value


@pytest.mark.skipif(os.name == "nt", reason="quotes as a POSIX shell takes them")
def test_commands_that_are_printed_can_be_typed(here):
    """In a folder, of a text and with a vocabulary whose names a shell would take apart; the corpus has no
    letter of "The "."""
    (here / ODD).mkdir()
    text = f"{ODD}/my text.txt"
    (here / text).write_text("- привет, $мир\n" * 300, encoding="utf-8")
    vocabulary = ["--data", text, "--vocab-size", 270, "--out", f"{ODD}/my words.tiktoken"]
    trains = lines_to_type(command("tokenizer", "train", *vocabulary, cwd=here).stdout)
    again = " ".join([trains[0], *SMALL, "--out", shlex.quote(f"{ODD}/run")])
    plain = shlex.join([sys.executable, "-m", "minibitnet.train", "--data", text, "--out", f"{ODD}/char",
                        *SMALL])
    for line in (again, plain):
        done = subprocess.run(line, shell=True, cwd=here, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        speaks, = lines_to_type(done.stdout)
        done = subprocess.run(speaks + " --tokens 3", shell=True, cwd=here, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout, done.stderr
    (here / ODD / "run/packed.safetensors").unlink()
    fails(1, f"pack {typed('--model', f'{ODD}/run')} makes it", module="generate",
          args=["--model", f"{ODD}/run", "--engine", "packed", "--prompt", "x"], cwd=here)
    fails(1, f"go on with {typed('--resume', f'{ODD}/run')}, or",
          args=["--data", text, "--out", f"{ODD}/run", *SMALL], cwd=here)


def lines_to_type(text):
    """The commands of ours that a text suggests, with this Python."""
    return [line.replace("python", shlex.quote(sys.executable), 1)
            for line in re.findall(r"^Try: (.*)", text, re.MULTILINE)]


# ---- values that begin with a dash, or are empty

def test_a_value_that_begins_with_a_dash_is_taken_or_told_how_to_write(here):
    for args in (["--prompt", "- the word"], ["--prompt=---"]):
        done = command("generate", "--model", "run", *args, "--tokens", 3, cwd=here)
        assert "unknown to this model's character tokenizer" in done.stderr          # it came that far
    for word in ("---", "-x.txt", "--x", "-1e9"):
        fails(2, f"--prompt {word}: a value that begins with - is written --prompt={word}", module="generate",
              args=["--model", "run", "--prompt", word], cwd=here)
    fails(2, "--data -x.txt: a value that begins with - is written --data=-x.txt",
          args=["--data", "-x.txt"], cwd=here)
    fails(2, "did you mean --tokenizer?", args=["--data", "--tokenzer", "byte"], cwd=here)
    (here / "-x.txt").write_text("words " * 100)
    assert command("train", "--data=-x.txt", *SMALL, cwd=here).returncode == 0


EMPTY = [("generate", ["--model", "", "--prompt", "x"]), ("evaluate", ["--model", ""]),
         ("pack", ["--model="]), ("evaluate", ["--model", "run", "--data", ""]),
         ("evaluate", ["--model", "run", "--tasks", ""]),
         ("train", ["--out", ""]), ("train", ["--resume", ""]), ("train", ["--init-from", ""]),
         ("train", ["--config", ""]), ("plot", [""]), ("reproduce", ["savings", "--out", ""]),
         ("data", ["make", "stories", "--out", ""]), ("tokenizer", ["train", "--data", "text.txt",
                                                                    "--vocab-size", "300", "--out", ""])]


@pytest.mark.parametrize("module, args", EMPTY)
def test_an_empty_name_is_not_the_current_folder(module, args, home):
    fails(2, "'': expected a name or a path", module=module, args=args, cwd=home / "run")


def test_limits_are_plain_numbers():
    with pytest.raises(UserError, match="d_model = 2097152: expected a value from 1 to 1,048,576"):
        ModelConfig(d_model=2**21)
    with pytest.raises(UserError, match="norm_eps = 1.5: expected a value from 0 to 1"):
        ModelConfig(norm_eps=1.5)


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs symbolic links")
def test_a_link_that_leads_nowhere_is_named(here):
    os.symlink("loop", here / "loop")
    fails(1, "is a symbolic link to loop, which leads nowhere", args=["--data", "loop"], cwd=here)
    fails(1, "symbolic link", module="generate", args=["--model", "loop", "--prompt", "x"], cwd=here)
    fails(1, "symbolic link", args=["--tokenizer", "loop", "--data", "text.txt", "--out", "x"], cwd=here)
    fails(1, "symbolic link", module="evaluate", args=["--model", "run", "--tasks", "loop"], cwd=here)


# ---- python -m minibitnet

LACKING = {"data": "make|fetch|list|info", "tokenizer": "train|show|encode",
           "bench": "train|kernels|decode|prompt",
           "generate": "--model", "evaluate": "--model", "pack": "--model", "plot": "DIR",
           "convert": "IN OUT", "inspect": "PATH",
           "reproduce": "NAME or --list"}


@pytest.mark.parametrize("name", LACKING)
def test_a_command_by_its_name_is_its_module(name, home):
    """`python -m minibitnet data` lacks a word: usage, in a line that says what is expected."""
    unpinned = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    done = subprocess.run([sys.executable, "-m", "minibitnet", name], cwd=home, capture_output=True,
                          text=True, env=unpinned)                 # bench says so where a kernel is pinned
    assert done.returncode == 2 and done.stdout == "", done.stdout
    assert done.stderr.count("\n") == 1 and LACKING[name] in done.stderr, done.stderr
    assert {*LACKING, "train"} == set(__main__.COMMANDS)


@pytest.mark.parametrize("args", [[], ["--help"], ["train", "--help"], ["data", "list"],
                                  ["reproduce", "--list"]])
def test_a_reader_that_is_gone_ends_a_command_quietly(args, home):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "minibitnet", *args], cwd=home, stdout=writer,
                          stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.returncode in (0, 141) and done.stderr == ""     # 0: of a long help argparse hides it
