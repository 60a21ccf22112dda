"""What the README says is there is there."""
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```sh\n(.*?)```", README, re.S)
LINES = [line.split("#")[0].strip() for fence in FENCES for line in fence.replace("\\\n", " ").splitlines()]
COMMAND = re.compile(r"python -m (minibitnet\.\w+[^&|>;]*)")
COMMANDS = sorted({match for line in LINES for match in COMMAND.findall(line)})


@pytest.fixture(scope="module")
def help_of():
    texts = {}

    def help_of(*words):
        if words not in texts:
            asked = [sys.executable, "-m", *words, "--help"]
            texts[words] = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        return texts[words]
    return help_of


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_in_the_readme_exists(command, help_of):
    module, *words = shlex.split(command)
    action = [word for word in words[:1] if not word.startswith("-")]          # `data make`, say
    for flag in (w for w in words if w.startswith("--")):
        assert re.search(rf"(^|[\s,]){re.escape(flag)}\b", help_of(module, *action)), f"{flag} of {command}"


def test_the_readme_shows_commands():
    shown = {re.match(r"minibitnet\.(\w+)", command)[1] for command in COMMANDS}
    assert {"train", "evaluate", "generate", "bench"} <= shown


def test_nothing_is_left_to_be_filled_in():
    assert "@@" not in README


def test_the_name_of_the_tiny_run_is_the_recorded_one():
    """data/results/exact.json is its home, and says how many cells agreed. (Other figures: test_pages.py.)"""
    result = json.loads((ROOT / "data/results/exact.json").read_text(encoding="utf-8"))["result"]
    tiny, ran = result["tiny"], [cell for cell in result["cells"] if "refused" not in cell]
    assert f"model sha256 {tiny['model_sha256']}\n" in README
    assert f"lists the {len(ran)} combinations" in README


def test_the_readme_is_a_door():
    assert len(README.splitlines()) <= 134


def test_a_link_to_a_line_leads_to_the_function_that_it_is_about():
    lines = (ROOT / "minibitnet/quant.py").read_text(encoding="utf-8").splitlines()
    number = re.search(r"\*absmean\*, \[quant\.py\]\(minibitnet/quant\.py#L(\d+)\)", README)[1]
    assert lines[int(number) - 1] == "def absmean_ternary(w):"


def test_links_lead_to_files_that_exist():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target
