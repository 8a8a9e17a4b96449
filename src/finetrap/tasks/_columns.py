"""What the columns of a person's row mean: one question and its answer, in the usual shapes.

    question, answer
    instruction, input (joined to it where it is not empty), output
    prompt, completion                       text, or lists of chat messages
    messages                                 role and content
    conversations                            from and value, as ShareGPT writes them

Options name other columns; `answer.value` reaches into an object, `answers.0` into a list. A system
message stands before the question. A chat with more than one question or answer is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finetrap.errors import BadData, opening
from finetrap.text.numbers import counted
from finetrap.text.rows import Row, column, described

PAIRS = (("question", "answer"), ("instruction", "output"), ("prompt", "completion"))
CHATS = ("messages", "conversations")
SHAPES = f"{', '.join(f'`{a}` and `{b}`' for a, b in PAIRS)}, `{'`, `'.join(CHATS)}`"
_LIKELY = {
    "question": ("problem", "prompt", "query", "instruction", "input", "text", "q", "user"),
    "answer": (
        *("answers", "final_answer", "label", "target", "output", "response", "completion"),
        *("gold", "solution", "a", "assistant"),
    ),
}
"""Names under which others keep a question or an answer, likeliest first: to be suggested."""
_ROLES = {
    "system": "system",
    "user": "question",
    "human": "question",
    "assistant": "answer",
    "gpt": "answer",
}


def question_and_answer(row: Row, options: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a row asks and what it answers. Raises BadData naming the row."""
    values = row[1]
    if {"question", "answer"} & set(options):
        asked, answered = (str(options.get(part, part)) for part in ("question", "answer"))
    else:
        known = [pair for pair in PAIRS if set(pair) <= set(values)]
        chat = next((name for name in CHATS if name in values), None)
        if chat and not known:
            return _conversation(row, chat, values[chat])
        asked, answered = known[0] if known else PAIRS[0]
    turns = reached(row, asked, "question")
    if isinstance(turns, list) and turns and isinstance(turns[0], dict):
        follow = reached(row, answered, "answer")
        return _conversation(row, asked, [*turns, *(follow if isinstance(follow, list) else ())])
    question = text(row, asked, "question")
    if asked == "instruction" and "input" not in options.values():
        more = values.get("input")
        question += (
            f"\n\n{column(with_question(row, question), 'input')}" if more not in (None, "") else ""
        )
    return question, text(with_question(row, question), answered, "answer")


def shape(row: Row, options: Mapping[str, Any]) -> str:
    """Name the shape that a row is taken for; empty where it is question and answer, or named."""
    values = row[1]
    if {"question", "answer"} & set(options) or set(PAIRS[0]) <= set(values):
        return ""
    if set(PAIRS[1]) <= set(values):
        more = " + input" if values.get("input") not in (None, "") else ""
        return f"Alpaca rows: instruction{more} → output"
    if set(PAIRS[2]) <= set(values):
        return "prompt → completion"
    if CHATS[0] in values:
        return "chat messages: what the user asks → what the assistant answers"
    return "ShareGPT rows: what the human asks → what gpt answers" if CHATS[1] in values else ""


def family(row: Row, options: Mapping[str, Any]) -> str:
    """Return the family of a row, by a column of families or of groups; empty without one."""
    name = options.get("family", options.get("group"))
    return text(row, name, "family") if name else ""


def with_question(row: Row, question: str) -> Row:
    """Return a row whose place also says how its question begins."""
    return f"{row[0]} ({opening(question)})", row[1]


def text(row: Row, name: str, part: str) -> str:
    """Return a column's text, or that of a part of it: `answer.value`. Raises BadData."""
    value = reached(row, name, part)
    if isinstance(value, dict) and value and all(str(key).isdecimal() for key in value):
        raise BadData(
            f"{row[0]}: `{name}` is a whole column, as pandas writes it by default; write rows: "
            'to_json(path, orient="records", lines=True)'
        )
    if isinstance(value, dict) and value:
        inside = ", ".join(f"`{key}`" for key in value)
        raise BadData(
            f"{row[0]}: `{name}` is an object with {inside}; name one of them: "
            f'{part} = "{name}.{next(iter(value))}"'
        )
    if isinstance(value, list) and len(value) == 1:
        raise BadData(f'{row[0]}: `{name}` is a list; name its one entry: {part} = "{name}.0"')
    return column((row[0], {name: value}), name)


def reached(row: Row, name: str, part: str) -> object:
    """Return the value of a column or of a part of it. Raises BadData where there is none."""
    place, values = row
    if name in values:
        return values[name]
    value: object = values
    for step in name.split("."):
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            raise BadData(f"{place}: no `{name}` {_say_columns(values, name, part)}")
    return value


def _say_columns(values: Mapping[str, Any], name: str, part: str) -> str:
    """Say which columns a row has, and what to write to name another."""
    found = f"(found {', '.join(f'`{c}`' for c in values) or 'no columns'})"
    likely = _LIKELY.get(part, ())
    same = {column.casefold(): column for column in values}
    guess = next((same[c] for c in (name.casefold(), *likely) if c in same), "your column")
    if part not in _LIKELY:
        return found
    return (
        f'{found}; a row holds {SHAPES}. Name another column under [task."jsonl:PATH"], with the '
        f'path as the study has it: {part} = "{guess}"; or with `try`: --column {part}="{guess}"'
    )


def _conversation(row: Row, name: str, turns: object) -> tuple[str, str]:
    """Return the one question and the one answer of a chat, a system message before the first."""
    place = row[0]
    if not isinstance(turns, list):
        raise BadData(f"{place}: `{name}` is {described(turns)}; it must be a list of messages")
    said: dict[str, list[str]] = {"system": [], "question": [], "answer": []}
    order = []
    system = row[1].get("system")
    if isinstance(system, str) and system.strip():
        turns = [{"role": "system", "content": system}, *turns]
    if begins := _first_asked(turns):
        place = f"{place} ({opening(begins)})"
    for turn in turns:
        role, content = _turn(place, name, turn)
        if role not in _ROLES:
            raise BadData(
                f"{place}: `{name}` holds a message of {role!r}; known are {', '.join(_ROLES)}"
            )
        if content or role != "system":
            said[_ROLES[role]].append(content)
            order.append(_ROLES[role])
    asked, answered = said["question"], said["answer"]
    if order not in (["question", "answer"], ["system", "question", "answer"]):
        raise BadData(
            f"{place}: `{name}` holds {counted(len(asked), 'question')} and "
            f"{counted(len(answered), 'answer')}; a row must hold one question and then its "
            "answer, perhaps after a system message: cut it there, or leave the row out"
        )
    for part, texts in said.items():
        if "" in texts:
            raise BadData(f"{place}: the {part} in `{name}` is empty; leave the row out")
    question = "\n\n".join((*said["system"], *asked))
    return column((place, {name: question}), name), column((place, {name: answered[0]}), name)


def _first_asked(turns: list[object]) -> str:
    """Return the first question of a chat, empty where it has none that can be told."""
    for turn in turns:
        role = turn.get("role", turn.get("from")) if isinstance(turn, dict) else None
        if isinstance(turn, dict) and _ROLES.get(str(role)) == "question":
            content = turn.get("content", turn.get("value"))
            return content.strip() if isinstance(content, str) else ""
    return ""


def _turn(place: str, name: str, turn: object) -> tuple[str, str]:
    """Return who speaks and what."""
    if isinstance(turn, dict):
        for who, what in (("role", "content"), ("from", "value")):
            if who in turn and what in turn:
                content = turn[what]
                if isinstance(content, list):
                    content = "".join(_piece_text(place, name, piece) for piece in content)
                if isinstance(content, str):
                    return str(turn[who]), content.strip()
    raise BadData(
        f"{place}: `{name}` holds {opening(str(turn))}; a message has `role` and `content`, or "
        "`from` and `value`, and its content is text"
    )


def _piece_text(place: str, name: str, piece: object) -> str:
    """Return the text of a piece of a message: `{"type": "text", "text": …}`."""
    if isinstance(piece, dict) and piece.get("type") == "text":
        return str(piece.get("text", ""))
    raise BadData(f"{place}: `{name}` holds more than text; leave the row out")
