"""The instructor's page: it speaks of the exercises that there are, and its links and minutes are right."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minibitnet.course.grading import EXERCISES, SUBJECTS

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"
TEXT = (NOTEBOOKS / "INSTRUCTOR.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (\d\d) · .+?\n(.*?)(?=^##)", TEXT, re.M | re.S))
ROW = re.compile(r"^\| `(\w+)` \| (\d+) \|", re.M)


def test_every_exercise_has_its_row_and_no_other_has():
    assert sorted(name for name, _ in ROW.findall(TEXT)) == sorted(EXERCISES)


def test_the_rows_are_in_the_sections_of_their_notebooks():
    assert list(SECTIONS) == [f"{i:02}" for i in range(len(SUBJECTS))]
    for subject, section in zip(SUBJECTS, SECTIONS.values()):
        assert {name for name, _ in ROW.findall(section)} == set(subject.EXERCISES)
        assert sum(int(points) for _, points in ROW.findall(section)) == 10
        assert re.search(r"\*\*Lecture \d+ min\.\*\*", section)


def test_exercises_that_are_named_elsewhere_are_there():
    schedules = TEXT[TEXT.index("## Schedules"):]
    assert set(re.findall(r"`(\w+)`", schedules)) <= set(EXERCISES)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (NOTEBOOKS / target).exists(), target


def test_two_hours_are_two_hours():
    path = TEXT[TEXT.index("### Two hours"):TEXT.index("### A day")]
    assert sum(map(int, re.findall(r"^\| (\d+) \|", path, re.M))) == 120


@pytest.mark.parametrize("stem, names", [("01_quantizers", "ternarize, entropy_bits"), ("05_transformer", "MyCache"),
                                         ("06_training", "entropy_of, flip_rate")])
def test_what_is_handed_in_can_be_marked(stem, names, tmp_path):
    """By the lines that the page has, on the published solutions."""
    first, second = re.findall(r"```python\n(.*?)```", TEXT, re.S)[:2]
    (tmp_path / "take.py").write_text(first.replace('"01_quantizers.ipynb"', repr(str(
        NOTEBOOKS / "solutions" / f"{stem}.ipynb"))), encoding="utf-8")
    (tmp_path / "mark.py").write_text(re.sub(r"for name in \(.*?\):", f"for name in {names.split(', ')}:", second),
                                      encoding="utf-8")
    for script in ("take.py", "mark.py"):
        done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, encoding="utf-8",
                              timeout=100, env={**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("✓") == 3 * len(names.split(", ")) and "✗" not in done.stdout
