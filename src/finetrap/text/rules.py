"""The rules by which an answer is found in a text, as tables: docs/protocol.md shows them.

Those of a kind are tried in this order; the first that finds an answer counts, and its name is kept
with the answer, so that a change of format is never mistaken for a change of ability. Within a rule
the last place counts.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """A rule of extraction: its name, what it matches, and an example with the value it finds."""

    name: str
    matches: str
    example: str
    value: str


RULES = (
    Rule("hash", "what follows the last `####` that is no heading", "#### 18 eggs", "18"),
    Rule(
        "tag",
        "what stands in the last `<answer>` (`<final_answer>`, `<solution>`, `<result>`)",
        "<answer>18</answer> (since 12 + 6)",
        "18",
    ),
    Rule(
        "json",
        'the value of the last `"answer"` (or `"final_answer"`) of a JSON object',
        '{"answer": 18, "confidence": 0.9}',
        "18",
    ),
    Rule(
        "answer-is",
        "what the last `answer is` or `answer:` states; not a check, a doubt or a denial of one",
        "The answer is 10 + 8 = 18.",
        "18",
    ),
    Rule("boxed", "what stands in the last `\\boxed{}`", "It is \\boxed{18}; 9 each.", "18"),
    Rule(
        "opening",
        "a number that is the first line, before an explanation of it",
        "18\n\nExplanation: 2 boxes of 9 each.",
        "18",
    ),
    Rule(
        "equation",
        "the result of an equation that the last sentence ends on",
        "So he makes 60 * 2 = $120 in 2 weeks",
        "120",
    ),
    Rule("last-number", "the last number that is not denied", "She has 18 left, not 20.", "18"),
    Rule(
        "scaled",
        "a number times the word of scale after it, where the number alone is not the answer",
        "It has 1.5 million people.",
        "1500000",
    ),
    Rule(
        "factorial",
        "the factorial of a number before `!`, where the number alone is not the answer",
        "\\boxed{5!}",
        "120",
    ),
)
"""The rules for numbers; the last two are second readings of what another rule found."""
LETTER_RULES = (
    *RULES[:5],
    Rule("is-correct", "the option that is said to be right or chosen", "(B) is correct.", "B"),
    Rule("opening", "the letter that opens the text", "C) 20 apples. A is too few.", "C"),
    Rule(
        "last-letter", "the only letter of the last sentence that has one", "Not A. So it's B", "B"
    ),
)
"""The rules for option letters; a choice between two ("A or B") is none."""
TEXT_RULES = (
    *RULES[:5],
    Rule("opening", "a first sentence of at most three words", "No. Penguins are birds.", "no"),
    Rule("last-line", "the last line, or its last sentence", "Reversed:\nd c b a", "d c b a"),
)
"""The rules for any other text. A line is also cut at the end of its first sentence."""
