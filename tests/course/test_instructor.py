"""The instructor's page: it speaks of the exercises that there are, and its links and minutes are right."""
import re
from pathlib import Path

from minibitnet.course.grading import EXERCISES, SUBJECTS

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
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
