"""The glossary: every name is the code's, every link leads somewhere, no term is there twice."""
import importlib
import re
from pathlib import Path
from typing import NamedTuple

import pytest

import minibitnet

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
TEXT = (NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8")
NUMBERED = {path.stem[:2]: path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb")}
NAME = re.compile(r"\[`([\w.]+)`\]\(([\w./]+)\)")


class Term(NamedTuple):
    term: str
    symbol: str
    name: str
    sentence: str
    notebook: str


def cells(line):
    """The cells of a table's row; \\| is no border."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


TERMS = [Term(*cells(line)) for line in TEXT.splitlines() if line.startswith("| ") and "`](../" in line]


def found(name):
    """What a dotted name without its "minibitnet." names -> (module, thing)."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            module = thing = importlib.import_module(".".join(["minibitnet", *parts[:n]]))
        except ModuleNotFoundError:
            continue
        for part in parts[n:]:
            thing = getattr(thing, part)
        return module, thing
    raise ModuleNotFoundError(name)


def test_the_terms_are_as_many_as_it_says_in_order_and_none_is_there_twice():
    names = [term.term.lower() for term in TERMS]
    assert TEXT.startswith(f"# Glossary: {len(names)} terms") and len(names) == len(set(names)) >= 40
    assert names == sorted(names)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.term)
def test_a_name_is_the_codes_and_its_link_leads_to_its_file(term):
    [(name, link)] = NAME.findall(term.name)
    module, thing = found(name)
    assert (NOTEBOOKS / link).resolve() == Path(module.__file__).resolve()
    defined = getattr(thing, "__module__", module.__name__)                  # not where it is only imported
    assert not hasattr(thing, "__qualname__") or defined == module.__name__


@pytest.mark.parametrize("name, error", [("quant.absmean", AttributeError), ("quants", ModuleNotFoundError),
                                         ("quant.Quantized.code", AttributeError)])
def test_a_name_that_is_none_is_seen(name, error):
    with pytest.raises(error):
        found(name)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.term)
def test_a_term_has_one_sentence_and_a_notebook_of_the_course(term):
    assert re.fullmatch(r"\S.*[^.]\.", term.sentence) and not re.search(r"\. [A-Z]", term.sentence)
    [(number, link)] = re.findall(r"\[(\d\d)\]\(([\w.]+)\)", term.notebook)
    assert NUMBERED[number] == link


@pytest.mark.parametrize("number", sorted({re.search(r"\d\d", term.notebook)[0] for term in TERMS}))
def test_a_notebook_that_teaches_a_term_is_there_and_says_it(number):
    path = NOTEBOOKS / NUMBERED[number]
    if not path.exists():
        pytest.skip(f"{path.name} is not written yet")
    text = path.read_text(encoding="utf-8").lower()
    for term in TERMS:
        if f"[{number}]" in term.notebook:
            words = re.findall(r"[a-z]{3,}", term.term.lower().replace("codes", "code"))
            assert any(word[:7] in text for word in words), term.term


def test_every_paper_is_linked():
    for name in set(re.findall(r"\[(b158|bitnet|faq)\]", TEXT)):
        assert f"\n[{name}]: https://" in TEXT


def test_it_is_named_where_the_course_is_described():
    assert "(GLOSSARY.md)" in (NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    assert minibitnet.show                                           # the text names it
