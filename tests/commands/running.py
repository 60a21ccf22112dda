"""The commands as processes of their own, and the small model that the tests here train with them."""
import json
import subprocess
import sys

SMALL = ["--d-model", "16", "--n-layers", "1", "--n-heads", "2", "--context", "16", "--batch", "4",
         "--steps", "8", "--save-every", "2", "--eval-every", "4"]
TEXT = "In the beginning was the word, and the word was ternary.\n" * 40


def command(module, *args, cwd, **options):
    return subprocess.run([sys.executable, "-m", f"minibitnet.{module}", *map(str, args)], cwd=cwd,
                          capture_output=True, text=True, encoding="utf-8", timeout=100, **options)


def fails(code, *words, module="train", args=(), cwd):
    """The command ends with this exit code and one line on standard error, without traceback, that has all
    the words."""
    result = command(module, *args, cwd=cwd)
    lines = result.stderr.strip().splitlines()
    assert result.returncode == code, result.stderr
    assert len(lines) == 1 and "Traceback" not in result.stderr, result.stderr
    for word in words:
        assert word in lines[0], lines[0]


def evaluated(*args, cwd):
    """What evaluate says of the model in run, as JSON."""
    result = command("evaluate", "--model", "run", *args, "--json", cwd=cwd)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def char_run(folder):
    """A run without documents, "char", beside what is there."""
    (folder / "plain.txt").write_text(TEXT, encoding="utf-8")
    if not (folder / "char").exists():
        assert command("train", "--data", "plain.txt", "--out", "char", *SMALL, cwd=folder).returncode == 0
    return folder
