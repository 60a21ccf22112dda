"""The transcribed numbers, checked against themselves: averages and ratios that the papers print beside their
terms."""
import json
import re
from pathlib import Path

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import paper

FILES = sorted(path.stem for path in (Path(__file__).parents[2] / "data/paper").glob("*.json"))
SOURCES = {
    "b1": "arXiv 2310.11453",
    "b158": "arXiv 2402.17764",
    "2b4t": "arXiv 2504.12285",
    "cpp": "arXiv 2410.16144",
    "a48": "arXiv 2411.04965",
    "v2": "arXiv 2504.18415",
    "faq": "microsoft/unilm, bitnet/The-Era-of-1-bit-LLMs__Training_Tips_Code_FAQ.pdf",
}
UNCHECKED = "b158_figure_2", "b158_figure_3", "faq_text"
GOOD = {"paper": "arXiv 2310.11453", "item": "Table 2", "title": "t", "checked": "text", "labels": 1,
        "columns": ["Bits", "ADD"], "rows": [["FP32", "0.90"]]}
AVERAGES = [
    ("b1_table_3", ("WG", "WGe", "HS", "SC")),
    ("b1_table_4", ("HS", "WGe", "WG", "SC")),
    ("b158_table_2", ("ARCe", "ARCc", "HS", "BQ", "OQ", "PQ", "WGe")),
    ("b158_table_4", ("Winogrande", "PIQA", "SciQ", "LAMBADA", "ARC-easy")),
    ("a48_table_3", ("ARCc", "ARCe", "HS", "PQ", "WGe")),
    ("v2_table_1", ("ARCc", "ARCe", "HS", "PQ", "WGe", "LBA")),
]


def cells(name):
    return {label: {column: float(cell) for column, cell in row.items() if cell != "-"}
            for label, row in paper.table(name).rows.items()}


@pytest.mark.parametrize("name", FILES)
def test_every_file_names_its_source_and_holds_numbers(name):
    table = paper.table(name)
    assert re.match(r"\w+_(table|figure)_\d$|\w+_text$", name) and table.rows and table.title
    assert table.item.lower().replace(" ", "_") == name.split("_", 1)[1] or name.endswith("_text")
    assert table.paper == SOURCES[name.split("_")[0]]
    unchecked = table.checked == "no"
    assert unchecked == (name in UNCHECKED), "labels of pictures that the PDF's text lacks; notes"


@pytest.mark.parametrize("name, terms", AVERAGES)
def test_printed_averages_are_those_of_the_printed_scores(name, terms):
    """To the last digit, which the papers rounded from unrounded scores: half a digit of the terms and half
    one of the average."""
    first, *_ = paper.table(name).rows.values()
    digit = 10.0 ** -len(first["Avg"].partition(".")[2])
    for label, row in cells(name).items():
        mean = sum(row[t] for t in terms) / len(terms)
        assert row["Avg"] == pytest.approx(mean, abs=1.01 * digit), label


def test_printed_ratios_are_those_of_the_printed_numbers():
    table = paper.table("b158_table_1").rows
    for (model, size), row in table.items():
        base = table["LLaMA", "3B" if size == "3.9B" else size]
        for column, ratio in (("Memory (GB)", "Memory ratio"), ("Latency (ms)", "Latency ratio")):
            assert paper.agrees(float(base[column]) / float(row[column]), row[ratio]), (model, size, column)
    llama, bitnet = paper.table("b158_table_3").rows.values()
    assert paper.agrees(int(bitnet["Batch"]) / int(llama["Batch"]), bitnet["Batch ratio"])
    assert paper.agrees(int(bitnet["Tokens/s"]) / int(llama["Tokens/s"]), bitnet["Tokens/s ratio"])


def test_the_notes_repeat_the_averages_of_a_table():
    table = paper.table("b158_table_2").rows
    of_notes = {size: row["16 bits"] for size, row in paper.table("faq_text").rows.items()}
    assert of_notes == {size: table["BitNet b1.58", size]["Avg"] for size in ("3B", "3.9B")}


def test_a_figure_repeats_its_table():
    figure, table = paper.table("b158_figure_2").rows, paper.table("b158_table_1").rows
    for size in ("1.3B", "3B"):
        row = table["BitNet b1.58", size]
        assert figure[size] == {column: row[column] for column in ("Latency ratio", "Memory ratio")}


def test_agreement_is_to_the_digits_printed():
    """13.798 rounds to 13.80, and so agrees with it and with 13.8; 13.751 agrees only with the latter."""
    assert paper.agrees(13.798, "13.80") and paper.agrees(13.798, "13.8")
    assert paper.agrees(13.751, "13.8") and not paper.agrees(13.751, "13.80")
    assert not paper.agrees(13.806, "13.80")
    assert paper.agrees(48_400, "4.8e4") and not paper.agrees(48_600, "4.8e4")
    assert paper.agrees(0.0341, "0.03") and not paper.agrees(0.0341, "0.04")
    assert paper.agrees(16.2, "16")


@pytest.mark.parametrize("change, message", [
    ({"paper": "a blog"}, "expected an arXiv number"),
    ({"checked": "yes"}, "checked 'yes'"),
    ({"item": ""}, "expected an arXiv number"),
    ({"rows": [["FP32", 0.9]]}, "expected 1 numbers as printed"),
    ({"rows": [["FP32", "O.9"]]}, "expected 1 numbers as printed"),
    ({"rows": [["FP32", "0.9", "0.4"]]}, "expected 1 numbers as printed"),
    ({"rows": [["FP32", "0.9"], ["FP32", "0.4"]]}, "two rows are 'FP32'"),
    ({"more": 1}, "expected the keys"),
    ({"rows": None}, "expected the keys"),
])
def test_a_file_that_is_not_as_described_is_refused(change, message):
    assert paper.parse("good", json.dumps(GOOD), "good.json").rows == {"FP32": {"ADD": "0.90"}}
    with pytest.raises(UserError, match=re.escape(message)):
        paper.parse("bad", json.dumps(GOOD | change), "bad.json")


def test_a_table_that_is_absent_is_named():
    with pytest.raises(UserError, match="paper/b1_table_9.json"):
        paper.table("b1_table_9")
