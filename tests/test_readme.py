"""What the README says is there is there."""
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINES = [line.split("#")[0].strip() for fence in re.findall(r"```sh\n(.*?)```", README, re.S) for line in fence.replace("\\\n", " ").splitlines()]
COMMANDS = sorted({match for line in LINES for match in re.findall(r"python -m (minibitnet\.\w+[^&|>;]*)", line)})


@pytest.fixture(scope="module")
def help_of():
    texts = {}

    def help_of(*words):
        if words not in texts:
            texts[words] = subprocess.run([sys.executable, "-m", *words, "--help"], capture_output=True, text=True, check=True).stdout
        return texts[words]
    return help_of


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_of_a_command_in_the_readme_exists(command, help_of):
    module, *words = shlex.split(command)
    action = [word for word in words[:1] if not word.startswith("-")]          # `data make`, say
    for flag in (w for w in words if w.startswith("--")):
        assert re.search(rf"(^|[\s,]){re.escape(flag)}\b", help_of(module, *action)), f"{flag} of {command}"


def test_the_readme_shows_commands():
    assert {"train", "evaluate", "generate", "bench"} <= {re.match(r"minibitnet\.(\w+)", c)[1] for c in COMMANDS}


def test_nothing_is_left_to_be_filled_in():
    assert "@@" not in README


def test_the_name_and_the_figures_of_the_tiny_run_are_the_recorded_ones():
    """data/results/exact.json is their home: sha256, perplexity, times the floor, and how many cells agreed."""
    result = json.loads((ROOT / "data/results/exact.json").read_text(encoding="utf-8"))["result"]
    tiny, ran = result["tiny"], [cell for cell in result["cells"] if "refused" not in cell]
    assert f"model sha256 {tiny['model_sha256']}\n" in README and f"lists the {len(ran)} combinations" in README
    assert f"| {tiny['val_ppl']:.3f} | {math.exp(tiny['val_loss'] - tiny['floor']):.2f} |" in README


def test_links_lead_to_files_that_exist():
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / target).exists(), target
