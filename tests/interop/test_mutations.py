"""A hundred mutated files for each reader; ``python tests/interop/mutations.py`` tries 5,000."""
import pytest
from mutations import READERS, tried


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused_in_one_line(name):
    works, longest, most = tried(name, 100)
    assert works, "some mutations harm nothing"
