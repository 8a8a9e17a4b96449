"""Which part of a completion is the model's answer to the problem it was asked.

Left out are blocks of reasoning, marks of chat templates, and everything from where the model
starts another problem. The list of such starts belongs to grading alone: decoding ends only at the
prompt's own stops, so that the raw completion stays on disk.

Every pattern runs in time linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Portion:
    """The part of a completion that is graded, and what was left out of it."""

    text: str
    """Without reasoning, marks of templates and what follows the cut."""
    cut: str | None = None
    """The name of the turn or the stop at which another problem starts; None if none does."""
    dropped: str = ""
    """The text from there on, as written."""
    reasoning: bool = False
    """Whether a block of reasoning was left out."""


class Turn(NamedTuple):
    """One way in which a model starts another problem."""

    name: str
    pattern: str
    example: str


TURNS = (
    Turn(
        "question",
        r"\[?(?:(?:Next|New|Another|Follow-?up|Bonus|Similar|Extra|Practice) )?"
        r"(?:Question|Problem|Instructions?|(?-i:Q))"
        r"(?:[ ]?\#?(?P<number>\d{1,4}))?(?:[ ]?[*_]{0,3}[:.)\]][*_]{0,3}"
        r"(?![ ]*[-$]?\d[\d,.]{0,30}[ ]*$)|(?<=\d)[*_]{0,3}$)",
        "Question: Tom has 3 bags of 5 nuts.",
    ),
    Turn("speaker", r"(?:User|Human|Student|Customer)[ ]?:", "User: And if there were 5 boxes?"),
    Turn(
        "heading",
        r"\#{1,6}[ ]?[*_]{0,3}(?:Instructions?|Input|User|Human|Question|Problem)[ ]?(?:\d{1,4})?"
        r"[*_]{0,3}[ ]?(?::|$)",
        "### Instruction:",
    ),
    Turn(
        "announced",
        r"(?:now,? )?(?:here(?:['’]s| is)|let['’]?s (?:try|do|solve|consider|look at)) "
        r"(?:another|the next|a similar|one more) "
        r"(?:one|problem|question|example|exercise)[ ]?[:.!]",
        "Here is another problem:",
    ),
    Turn("role", r"(?-i:user|human|assistant|system)(?=\n+[ ]*\S)", "user"),
)
"""Turns that open a line, in any case but `Q`; markdown's emphasis may stand around them."""
AFTER_MARK = r"(?:Exercise|Example|Task|Input|Puzzle)[ ]?\d{0,4}[ ]?[:.]"
"""Words that also open a step of a solution: they cut only after an answer with a mark."""

_OPENS = re.compile(
    r"^[ \t]*[*_>]{0,3}(?i:"
    + "|".join(f"(?P<{turn.name}>{turn.pattern})" for turn in TURNS)
    + f"|(?P<exercise>{AFTER_MARK}))"
    + r"|(?<=[.!?] )(?P<inline>(?:Question|Problem|Q|User|Human):)",
    re.MULTILINE,
)
_LAST_MARKED_BEFORE = re.compile(r"####[ \t]{0,3}[-+$€£]{0,2}\d")
_LAST_MARKED = re.compile(r"####[ \t]{0,3}[-+$€£]{0,2}\d[\d.,]{0,30}\Z")
_PLACED = re.compile(
    r"(?:\banswers?(?: is| are|:)[ *_]{0,4}:?|\\boxed\{|<answer>|[\"']answer[\"']\s{0,4}:|^)"
    r"[ \t*_$\"]{0,4}(?P<number>-?[€£$]?\d[\d.,]{0,30})",
    re.IGNORECASE | re.MULTILINE,
)
"""A number in another place of an answer, or at the start of a line."""
_TOKEN = re.compile(
    r"(?=[<\[])(?:<[|｜](?:im_(?:start|end)|e[ou][tms](?:_id)?"
    r"|end(?:_?of_?(?:text|turn|message)|oftext)?|eos|bos|pad|user|human|system|assistant|return|call|start|begin_of_text|(?:start|end)_header_id"
    r"|(?:START|END)_OF_TURN_TOKEN|(?:USER|CHATBOT|SYSTEM)_TOKEN"
    r"|(?:begin|end)▁of▁sentence|User|Assistant)[|｜]>"
    r"|</?s>|<(?:eos|bos|pad|unk)>|<(?:start|end)_of_turn>|\[/?INST\]|\[(?:EOS|PAD)\]|<</?SYS>>)"
)
"""Marks with which chat templates and tokenizers open and end a turn."""
_RESTATED = re.compile(
    r"\s*(?:(?:<s>|<\|im_end\|>|<\|begin_of_text\|>|<\|eot_id\|>)\s*)?"
    r"(?:<\|im_start\|>user|<\|user\|>|<start_of_turn>user|\[INST\]"
    r"|<\|start_header_id\|>user<\|end_header_id\|>).*?"
    r"(?:<\|im_start\|>assistant|<\|assistant\|>|<start_of_turn>model|\[/INST\]"
    r"|<\|start_header_id\|>assistant<\|end_header_id\|>)",
    re.DOTALL,
)
"""A question that the model restates as a user's turn before it answers."""
_OWN_ROLE = re.compile(r"\s*(?:assistant|model)[ ]*\n")
_ROLES = ("user", "assistant", "model", "system")
_INVISIBLE = re.compile(
    r"\x1b\[[\d;]{0,20}[A-Za-z]|(?<=\d)[\u200b\u2060\ufeff]{1,9}(?=\d)", re.ASCII
)
"""Colours of a terminal, and spaces without width amid a number."""
_OTHER_TOKEN = re.compile(r"<[|｜][^<>|｜\s]{1,40}[|｜]>")

_THOUGHT = (
    r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratchpad|analysis|reflection|inner_monologue)"
)
_BLOCK = re.compile(
    rf"(?=[<\[◁])(?:(?P<open><[|｜]?{_THOUGHT}[|｜]?>|\[THINK\]|<\|begin_of_thought\|>|<\|START_THINKING\|>"
    r"|◁think▷"
    r"|<\|channel\|>(?:analysis|commentary)\b[^<]{0,40}<\|message\|>|<seed:think>)"
    rf"|(?P<close><[|｜]?/{_THOUGHT}[|｜]?>|\[/THINK\]|<\|end_of_thought\|>|<\|END_THINKING\|>|◁/think▷"
    r"|<\|channel\|>final\b[^<]{0,40}<\|message\|>|</seed:think>))",
    re.IGNORECASE,
)

_VISIBLE = re.compile(r"\w")
_MARK = re.compile(
    r"####|\\boxed|\banswers?\b[ *_]{0,4}(?:is\b|are\b|was\b|[:=])|</?answer>|^[ ]*[*_]{0,3}A:"
    r"|[\"']answer[\"']\s*:|^[ #*_]*(?:Solution|Response|Assistant)\b[ ]?\d*[*_]{0,3}[ ]?:?",
    re.IGNORECASE | re.MULTILINE,
)
"""What shows that an answer follows or stands there."""
_FINAL = re.compile(r"####[ ]?\S|\\boxed")
_STATES = re.compile(r"####[ ]?\S|\\boxed|\banswers?\b[ *_]{0,4}(?:is\b|are\b|was\b|[:=])", re.I)
_ANNOUNCES = re.compile(
    r"\W*(?:sure|okay|ok|certainly|of course|great|alright|let['’]?s|let me|let us|i['’]?ll|i will"
    r"|we (?:will|need|are|have|can)|we['’](?:ll|re)|i (?:need|understand|have)|understand\w*|given"
    r"|here(?:['’]s| is| are)|this (?:is|problem|question)|the (?:problem|question|task)|restat\w*"
    r"|to solve|to find|first)\b[^\d\n]*$",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"[\s#*_]*(?:(?:step[- ]by[- ]step |the |final )?(?:solution|answer|explanation|response|steps"
    r"|restatement)\b)?[\s*_:.]*",
    re.IGNORECASE,
)
_UNANSWERED = re.compile(
    r"\s*[*_#>]{0,4}[ ]?(?:Question|Problem|Q)[ ]?\d{0,4}[*_]{0,3}:[^\n]*\?[*_\s]*", re.IGNORECASE
)
"""A question that the model restates without an answer after it."""
_STATED_LINE = re.compile(
    r"####[ \t]{0,3}[*_(]{0,3}(?:"
    r"[-+$€£]{0,2}(?:\d[\d.,/]{0,30}(?<![.,])(?![.):]\**[ ]+[^\W\d])|\.\d)[^\n?]{0,40}"
    r"|(?:[A-J]|yes|no|true|false)[.)*_]{0,3}[ ]*)$",
    re.IGNORECASE | re.MULTILINE,
)
_QUESTION = re.compile(r"\w[\"”')*_]{0,3}[ ]?[?\uff1f\u061f]")
_DOUBTS = re.compile(
    r"\b(?:wait|hm+|actually|check|verify|correct|correction|sure|mistake|make sense|no,|oops|sorry"
    r"|right[?,.])|\b(?:is|was) (?:this|that|it) ",
    re.IGNORECASE,
)
_FIRST_WORDS = re.compile(r"\w[^\n:\uff1a]{0,24}[:\uff1a]?")
_REACH = 300
_LAST_QUESTION = re.compile(
    r"(?:\A|(?<=[\s*_(\"“]))(?:how (?:many|much|long|far|old|tall|often|fast|big|heavy)"
    r"|what (?:is|are|was|were|will|would|percent\w*|fraction))\b[^.!?\n]*\?[*_\"”)\s]*\Z",
    re.IGNORECASE,
)
_PLAIN_LABEL = re.compile(r"[\s#*_>]*(?:Question|Problem|Q)[ ]?1?[ ]?[*_]{0,3}[:.]?[*_]{0,3}", re.I)
_ASKS_ALONE = re.compile(r"[\s*_]{0,9}[^\d.!?\n]{1,300}\?")
_GIVEN = re.compile(r"(?<![\w.,])\d[\d.,]*")
_SENTENCE = re.compile(r"[.!](?=\s|\Z)")
_CONCLUDED = re.compile(
    r"=[ ]?[$(*]{0,4}-?\d|\b(?:so|thus|therefore|hence|total|altogether|in all|left)\b",
    re.IGNORECASE,
)
"""What shows that a text without a mark gives a result."""
_ASKED = re.compile(r"\?[*_\"”)]{0,3}[ ]*\n")


def whole_numbers(text: str) -> str:
    """Leave out the last marked number of a completion that was stopped at it, where one is before.

    A text that ends in a cycle or at the cap, `#### 3.6 … #### 3`, may have been about to go on;
    with other marks, and on lines of its own, where a number before begins in the same way.
    """
    end = _LAST_MARKED.search(text)
    earlier = end and _LAST_MARKED_BEFORE.search(text, 0, end.start())
    if end and earlier:
        return text[: end.start()]
    placed = list(_PLACED.finditer(text))
    last = placed[-1] if placed and placed[-1].end("number") == len(text) else None
    begun = last and any(one["number"].startswith(last["number"]) for one in placed[:-1])
    return text[: last.start()] if last and begun else text


def graded_part(text: str, stops: Sequence[str] = (), *, cut: bool = True) -> Portion:
    """Return the part of a completion in which the answer is looked for.

    `stops` end it wherever they occur after some text; without `cut` only reasoning and the marks
    of templates are left out.
    """
    restated = _RESTATED.match(text)
    text = text[restated.end() :] if restated else text
    pieces, reasoning = _outside(text)
    kept = "" if reasoning else _clean(text)
    for start, end in pieces:
        piece = text[start:end]
        answered = start > 0 and _is_answered(kept, asked=False)
        at, name = _end(piece, stops, answered) if cut else (None, None)
        found = _clean(piece if at is None else piece[:at])
        if _VISIBLE.search(found):
            kept = found
        if at is not None:
            return Portion(kept, name, text[start + at :], reasoning)
    if cut and _UNANSWERED.fullmatch(kept):
        kept = ""
    return Portion(kept, None, "", reasoning)


def asks_only(text: str) -> bool:
    """Whether a text ends with a question for an amount and concludes nothing before it."""
    question = _LAST_QUESTION.search(text, max(0, len(text) - _REACH))
    before = text[: question.start()] if question else ""
    return bool(question and not _MARK.search(before) and not _CONCLUDED.search(before))


def opens_reasoning(prompt: str) -> bool:
    """Whether a prompt ends inside a block of reasoning."""
    marks = list(_BLOCK.finditer(prompt))
    return bool(marks) and marks[-1]["open"] is not None


def _outside(text: str) -> tuple[list[tuple[int, int]], bool]:
    """Return where the text outside blocks of reasoning stands, and whether there are any.

    What ends with a closing tag is reasoning even without an opening one, which a chat template may
    have written. Of what stands before a block only an answer with a mark counts.
    """
    if not any(sign in text for sign in "<[◁"):
        return [(0, len(text))], False
    pieces: list[tuple[int, int]] = []
    start, inside, closed = 0, False, False
    for mark in _BLOCK.finditer(text):
        if mark["open"]:
            if not inside and (closed or _STATES.search(text, start, mark.start())):
                pieces.append((start, mark.start()))
            inside = True
        else:
            if not inside and closed:
                pieces.append((start, mark.start()))
            elif not inside:
                pieces.clear()
            inside, closed = False, True
        start = mark.end()
    if not inside:
        pieces.append((start, len(text)))
    return pieces, start > 0


def _end(piece: str, stops: Sequence[str], answered: bool) -> tuple[int | None, str | None]:
    """Return where another problem starts, and the name of what opens it."""
    found: list[tuple[int, str]] = []
    first = _VISIBLE.search(piece)
    for stop in filter(None, stops):
        at = piece.find(stop, first.end() if first else len(piece))
        if at >= 0:
            found.append((at, stop))
    since = 0
    for token in _TOKEN.finditer(piece):
        before = _OTHER_TOKEN.sub("", piece[since : token.start()]).strip()
        if _VISIBLE.search(before) and before not in _ROLES:
            found.append((token.start(), token[0]))
            break
        since = token.end()
    turns = (_next_turn(piece, answered), _asked_again(piece))
    found += [(turn.start(), turn[0].strip()) for turn in turns if turn is not None]
    return min(found, default=(None, None))


def _next_turn(piece: str, answered: bool) -> re.Match[str] | None:
    """Return the first turn that opens after an answer or after a finished sentence."""
    since, seen, last, asked = 0, 0, 0, False
    for turn in _OPENS.finditer(piece):
        if turn["exercise"]:
            if answered or _STATES.search(piece, seen, turn.start()):
                return turn
            seen = turn.end()
            continue
        before = piece[since : turn.start()]
        number = int(turn["number"] or 0)
        own_step = last > 0 and number == last + 1 and not _FINAL.search(before)
        own_step = own_step or (not (asked or answered) and _is_restated(before, turn))
        if not own_step and (answered or _is_answered(before, asked=asked)):
            return turn
        since = seen = turn.end()
        last, asked = number or last, True
    return None


def _asked_again(piece: str) -> re.Match[str] | None:
    """Return the first words of a text that asks between two answers after `####`.

    A question about the answer itself ("Wait, is it 24?") leads to another answer of the same, and
    one without numbers of its own, between numbers, to the next step of a solution.
    """
    start, words = len(piece), True
    for mark in _STATED_LINE.finditer(piece):
        asks = _QUESTION.search(piece, start, mark.start())
        own = asks and (words or _GIVEN.search(piece, start, asks.end()))
        if asks and own and not _DOUBTS.search(piece, start, asks.end()):
            return _FIRST_WORDS.search(piece, start)
        start, words = mark.end(), not _GIVEN.search(mark[0])
    return None


def _is_restated(before: str, turn: re.Match[str]) -> bool:
    """Whether a turn asks about the numbers before it: `4 boxes of 6. Question: How many pens?`

    They are no answer then; another problem has numbers of its own.
    """
    given = len(_GIVEN.findall(before)) > 1 or len(_SENTENCE.findall(before)) > 1
    concluded = _MARK.search(before) or _CONCLUDED.search(before)
    own = _ASKS_ALONE.match(turn.string, turn.end()) and _PLAIN_LABEL.fullmatch(turn[0])
    return bool(own and given and _GIVEN.search(before) and not concluded)


def _is_answered(before: str, *, asked: bool) -> bool:
    """Whether a text holds an answer, or a finished sentence that is more than an announcement.

    After a restated question (`asked`) it must follow a mark or the line of the question.
    """
    if asked:
        mark = _MARK.search(before)
        question = _ASKED.search(before)
        ends = [m.end() for m in (mark, question) if m]
        return bool(ends) and _VISIBLE.search(before, min(ends)) is not None
    if not _VISIBLE.search(_clean(before)) or _TITLE.fullmatch(before):
        return False
    if before.rstrip().endswith(":"):
        return False
    return not (_ANNOUNCES.match(before.strip()) and not _MARK.search(before))


def _clean(text: str) -> str:
    """Take the marks of templates off, and the name of a role that leads a text."""
    if "<" in text or "[" in text:
        text = _OTHER_TOKEN.sub(" ", _TOKEN.sub("", text))
    text = _INVISIBLE.sub("", text)
    role = _OWN_ROLE.match(text)
    return text[role.end() :] if role and _VISIBLE.search(text, role.end()) else text
