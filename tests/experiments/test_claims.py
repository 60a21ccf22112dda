"""data/paper/claims.toml is read, and what is not as it says is refused in one line."""
import re

import pytest

from minibitnet.errors import UserError
from minibitnet.experiments import claims

GOOD = '[b1-eq-1]\nsource = "[bitnet] eq. 1"\nclaim = "c"\nstate = "exact"\nhome = "quant.sign_binary"\n'
NEVER = GOOD.replace('"exact"', '"not reproducible here"').replace("home", "because")


def test_a_row_has_the_fields_of_the_file():
    [row] = claims.parse(GOOD + 'departure = "d"\n', "claims.toml")
    assert row == ("b1-eq-1", "[bitnet] eq. 1", "c", "exact", "", "", "quant.sign_binary", "d")
    assert row.standing == "exact, but d"


def test_a_row_that_is_out_of_reach_says_why():
    [row] = claims.parse(NEVER, "claims.toml")
    assert (row.state, row.because) == ("not reproducible here", "quant.sign_binary")
    assert row.standing == row.as_json()["state"] == "not reproducible here, because quant.sign_binary"


@pytest.mark.parametrize("text, message", [
    (GOOD + "but =", "Invalid value"),
    (GOOD + GOOD, "b1-eq-1"),
    (GOOD + 'but = "d"', "row b1-eq-1: unknown field 'but'"),
    (GOOD.replace("claim", "claims"), "row b1-eq-1: expected a source, a claim and a state"),
    (GOOD.replace('"c"', "1"), "row b1-eq-1: claim: expected one line of text"),
    (GOOD.replace('"c"', '"""a\nb"""'), "row b1-eq-1: claim: expected one line of text"),
    (GOOD.replace('"exact"', '"exactly"'), "row b1-eq-1: state 'exactly': expected one of exact, inferred"),
    (GOOD + 'because = "b"', "row b1-eq-1: because: expected with the state 'not reproducible here'"),
    (NEVER.replace("because", "departure"), "row b1-eq-1: because: expected with the state"),
    (GOOD + 'experiment = "variance"', "row b1-eq-1: expected an experiment or a home, not both"),
    ('title = "t"', "row title: expected a source, a claim and a state"),
    ((GOOD + GOOD.replace("eq-1", "eq-2")).replace("home", "experiment"),
     "quant.sign_binary is the name of two"),
])
def test_a_file_that_is_not_as_it_says_is_refused_in_one_line(text, message):
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        claims.parse(text, "claims.toml")
    assert str(refused.value).startswith("claims.toml: ") and "\n" not in str(refused.value)
