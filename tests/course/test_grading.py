"""The frame of the exercises: it calls the student's function alone, tells a property and no answer, and
ends."""
import numpy as np
import pytest

import minibitnet
from minibitnet.course import exercise, grading
from minibitnet.course.exercise import Exercise, graded
from minibitnet.errors import UserError


def cases(rng):
    yield (np.float32([1, -2]),)
    yield (rng.standard_normal((5,)).astype(np.float32),)
    yield (rng.standard_normal((50,)).astype(np.float32),)


def same_length(x, answer):
    "there is one number for each of x"
    return answer.shape == x.shape


def twice(x, answer):
    "doubling x doubles every number"
    return np.array_equal(answer, 2 * x)


DOUBLE = Exercise("x (n,) -> (n,)", cases, (same_length, twice))


def test_a_right_function_is_right_under_every_seed():
    for seed in range(3):
        report = graded("double", DOUBLE, lambda x: 2 * x, seed)
        assert report.right and str(report) == "✓ double 3/3"


def test_the_first_wrong_case_is_shown_with_what_came_and_the_property():
    def mine(x):
        return np.abs(2 * x)
    report = graded("double", DOUBLE, mine)
    assert not report.right and report.passed == 0
    assert str(report).splitlines() == ["✗ double 0/3", "  given     x = [ 1. -2.]", "  came      [2. 4.]",
                                        "  violated  doubling x doubles every number"]


def test_cases_that_pass_are_counted_also_behind_one_that_fails():
    report = graded("double", DOUBLE, lambda x: 2 * x if len(x) != 5 else x)
    assert (report.passed, report.of) == (2, 3) and "argument" not in report.problem


def test_a_report_never_holds_the_answer():
    """A number that only the right answer has."""
    right = Exercise("x -> y", lambda rng: iter([(1234.5,)]), (twice,))
    assert "2469" not in str(graded("double", right, lambda x: x + 1))


@pytest.mark.parametrize("stub", [lambda x: None, lambda x: ..., lambda x: 1 / (x[0] - 1)])
def test_a_stub_is_not_solved_and_what_is_raised_is_told(stub):
    said = str(graded("double", DOUBLE, stub))
    assert said in ("✗ double 0/3: not solved yet (x (n,) -> (n,))",
                    "✗ double 0/3: not solved yet: it gives None (x (n,) -> (n,))") or "violated" in said


def test_a_path_without_return_is_told():
    report = graded("double", DOUBLE, lambda x: 2 * x if len(x) != 5 else None)
    assert (report.passed, report.of) == (2, 3) and "is there a path without `return`?" in str(report)


def test_what_a_function_raises_is_told_and_not_raised():
    def mine(x):
        raise KeyError("gamma")
    assert "raised    KeyError: 'gamma'" in str(graded("double", DOUBLE, mine))

    def later(x):
        raise NotImplementedError
    assert "not solved yet" in str(graded("double", DOUBLE, later))


def test_an_answer_of_another_kind_violates_the_first_property():
    assert "there is one number for each" in str(graded("double", DOUBLE, lambda x: "twice"))


def test_a_function_that_writes_into_its_input_is_wrong():
    def mine(x):
        x *= 2
        return x.copy()
    assert "nothing is written into what it is given" in str(graded("double", DOUBLE, mine))


def test_an_endless_loop_ends(monkeypatch):
    monkeypatch.setattr(exercise, "SECONDS", 0.3)

    def mine(x):
        while True:
            pass
    report = graded("double", DOUBLE, mine)
    assert "it had not ended after 0.3 seconds" in report.problem and report.passed == 0


def test_what_is_no_function_is_told():
    assert "expected a function, got 3" in str(graded("double", DOUBLE, 3))


def test_another_seed_draws_other_cases():
    def learnt(x):
        return 2 * x if len(x) == 2 or list(x[:1]) == first else x
    first = list(list(cases(exercise.Random(0)))[1][0][:1])
    assert graded("double", DOUBLE, learnt, 0).passed == 2 and graded("double", DOUBLE, learnt, 1).passed == 1


def test_an_unknown_exercise_names_its_neighbour(monkeypatch):
    monkeypatch.setitem(grading.EXERCISES, "double", DOUBLE)
    with pytest.raises(UserError, match="did you mean 'double'?"):
        minibitnet.grade("duoble", lambda x: x)


def test_check_prints_the_report(monkeypatch, capsys):
    monkeypatch.setitem(grading.EXERCISES, "double", DOUBLE)
    assert minibitnet.check("double", lambda x: 2 * x) is None
    assert capsys.readouterr().out == "✓ double 3/3\n"


def test_large_arrays_are_shown_in_short():
    said = exercise.shown(np.zeros((64, 300), np.float32))
    assert len(said) < 400 and said.endswith("float32 (64, 300)")
    assert exercise.shown(np.array([-0.0, 1])) == "[0. 1.]"


# ---- what a notebook begins with

def test_the_environment_is_one_line(capsys):
    minibitnet.check_env()
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith(f"minibitnet {minibitnet.__version__} · Python 3") and "the stories" in line


def test_what_is_missing_is_said_with_the_way_to_get_it(capsys, monkeypatch):
    from minibitnet.course import showing
    monkeypatch.setattr(showing.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(showing, "packaged", lambda name: (_ for _ in ()).throw(UserError("no")))
    minibitnet.check_env()
    _, first, second = capsys.readouterr().out.splitlines()
    assert first == "matplotlib is missing: python -m pip install matplotlib"
    assert second.startswith("the stories are missing: install minibitnet again")


def test_source_is_shown_as_it_is_with_its_file():
    shown = minibitnet.show(minibitnet.absmean_ternary, minibitnet.nn.ops.rms_norm)
    assert repr(shown).startswith("# minibitnet/quant.py\ndef absmean_ternary(w):\n")
    assert "# minibitnet/nn/ops.py\n@op\ndef rms_norm" in repr(shown)
    assert "```python\ndef absmean_ternary" in shown._repr_markdown_()
    method = repr(minibitnet.show(minibitnet.nn.model.Block.__call__))
    assert method.splitlines()[1].startswith("def __call__"), "not indented"
    with pytest.raises(UserError, match="expected a function, a class or a module"):
        minibitnet.show(3)
