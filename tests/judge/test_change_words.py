"""How changes are written."""

import pytest

from finetrap.levels import written_change


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (-0.04, 1, "0.0"),
        (0.04, 1, "0.0"),
        (-0.05001, 1, "-0.1"),
        (2, 1, "+2.0"),
        (-0.0, 3, "0.000"),
    ],
)
def test_a_change_that_rounds_to_zero_has_no_sign(value, digits, text):
    assert written_change(value, digits) == text
