import pytest

from nomosaurus.commands.shown import large


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (999_999, "999,999"),
        (1_230_000, "1.23 million"),
        (45 * 10**9, "45 billion"),
        (6 * 10**12, "6 trillion"),
        (123 * 10**17, "1.2 x 10^19"),
    ],
)
def test_large_numbers_are_shown_in_words(number, shown):
    assert large(number) == shown
