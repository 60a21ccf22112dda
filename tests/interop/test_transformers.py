"""A few models beside ``transformers`` itself, where it is installed, and what was recorded of many."""
import json
from pathlib import Path

import pytest
import with_transformers

RECORD = Path(__file__).parents[2] / "data/results/transformers.json"
LLAMA = 1e-5                       # of floats, every model
MEDIAN, WORST = 1e-5, 5e-2         # one code that flips at a tie of rounding moves a logit by a hundredth


@pytest.fixture
def libraries():
    """Skips where one is absent."""
    for name in ("torch", "transformers", "safetensors", "tokenizers", "accelerate"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra 'peers')")
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@pytest.mark.parametrize("form", [*with_transformers.FORMS, None])
def test_what_they_saved_is_read(libraries, form):
    assert sorted(with_transformers.reading(seed, form) for seed in range(100, 103))[1] < MEDIAN


def test_what_we_saved_is_read_by_them(libraries):
    assert sorted(with_transformers.writing(seed) for seed in range(100, 103))[1] < MEDIAN


def test_they_encode_with_our_tokenizer_as_we_do(libraries):
    assert with_transformers.tokenizers_apart(7) == 0


def test_the_record_of_many():
    """50 of each kind and of each form."""
    result = json.loads(RECORD.read_text(encoding="utf-8"))["result"]
    assert result["read"].keys() == {*with_transformers.FORMS, "llama"}
    for form, found in (*result["read"].items(), ("written", result["written"])):
        worst = LLAMA if form == "llama" else WORST
        assert found["models"] == 50 and found["median"] < MEDIAN and found["worst"] < worst
    assert result["texts encoded otherwise"] == 0
