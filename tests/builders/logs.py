"""The logs of other tools, as each version of a tool writes them."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from finetrap.judge.logs import read_gradable
from finetrap.judge.predictions import predictions_of
from finetrap.text.scoring import graded_rows

GOLDS = [18, 3, 70000, 540]
SAID = ["So 18.\n#### 18", "#### 3", "#### 7", "It is 540."]
RIGHT = [True, True, False, True]
"""What finetrap's grading says of these completions."""


def since(version: str, other: str) -> bool:
    return [int(part) for part in version.split(".")] >= [int(part) for part in other.split(".")]


def by_id(log: Any) -> dict[str, bool]:
    return predictions_of(log)


def graded(path: Path, filter: str | None = None) -> dict[str, bool]:
    return {row["id"]: row["correct"] for row in graded_rows(read_gradable(path, filter))}


def lm_eval_row(i: int, version: str, filter: str = "strict-match", **scores: Any) -> dict:
    """A row of a generated answer, in the keys that a version writes."""
    new = since(version, "0.4.7")
    arguments = ["Q: How many?\nA:", {"until": ["Q:"], "do_sample": False}]
    named = {"gen_args_0": {"arg_0": arguments[0], "arg_1": arguments[1]}}
    hashes = {"doc_hash": "0", "prompt_hash": "0", "target_hash": "0"}
    return {
        "doc_id": i,
        "doc": {"question": "How many?", "answer": f"#### {GOLDS[i]}"},
        "target": f"#### {GOLDS[i]}",
        "arguments": named if since(version, "0.4.3") else [arguments],
        "resps": [[SAID[i]]],
        "filtered_resps": [SAID[i][-3:]],
        **({"filter": filter, "metrics": list(scores)} if new else {}),
        **(hashes if since(version, "0.4.3") else {}),
        **scores,
    }


def choice_row(i: int, version: str, doc: dict[str, Any], **scores: Any) -> dict[str, Any]:
    """A row of a task of choices: a likelihood and whether it is greedy, for each choice."""
    text = since(version, "0.4.3")
    pairs = [["-12.5", "False"], ["-3.25", "True"]] if text else [[-12.5, False], [-3.25, True]]
    return {
        **lm_eval_row(i, version, "none", **scores),
        "doc": doc,
        "target": "1" if text else 1,
        "resps": [[pair] for pair in pairs],
        "filtered_resps": pairs,
    }


def lm_eval_log(path: Path, version: str, rows: list[dict[str, Any]]) -> Path:
    """Before 0.4.3 a log is one list over many lines, though its name ends in .jsonl."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text(
        lines if since(version, "0.4.3") else json.dumps(rows, indent=2), encoding="utf-8"
    )
    return path


def lighteval_rows(version: str) -> list[dict[str, Any]]:
    """Details of generated answers: nested from 0.11, flat before, all text at 0.6."""
    if since(version, "0.11"):
        return [
            {
                "doc": {
                    "query": f"Question {i}?",
                    "choices": [f" #### {gold}"],
                    "gold_index": 0,
                    "id": str(i),
                    "task_name": "gsm8k|5",
                },
                "model_response": {"text": [said], "logprobs": [], "output_tokens": [[1, 2]]},
                "metric": {"extractive_match": int(i == 0), "bleu": 0.25},
            }
            for i, (gold, said) in enumerate(zip(GOLDS, SAID, strict=True))
        ]
    flat = [
        {
            "example": f"Question {i}?",
            "full_prompt": f"Question {i}?\nAnswer:",
            "gold": [f" #### {gold}"],
            "gold_index": [],
            "choices": [],
            "metrics": {"qem": int(i == 0), "bleu": 0.25},
            "predictions": [said],
        }
        for i, (gold, said) in enumerate(zip(GOLDS, SAID, strict=True))
    ]
    if since(version, "0.8"):
        return flat
    return [{key: str(value) for key, value in row.items()} for row in flat]


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def inspect_sample(i: int, epoch: int = 1) -> dict[str, Any]:
    return {
        "id": i + 1,
        "epoch": epoch,
        "input": f"Question {i}?",
        "target": str(GOLDS[i]),
        "messages": [{"role": "user", "content": f"Question {i}?"}],
        "output": {
            "model": "hf/tiny",
            "choices": [
                {"message": {"role": "assistant", "content": SAID[i]}, "stop_reason": "stop"}
            ],
            "completion": SAID[i],
        },
        "scores": {"match": {"value": "C" if i == 0 else "I", "answer": SAID[i]}},
        "events": [{"event": "state"}] * 3,
    }


HEADER = {"version": 2, "status": "success", "eval": {"task": "gsm8k"}, "plan": {}, "results": {}}


def zipped(path: Path, members: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in members.items():
            text = value if isinstance(value, (str, bytes)) else json.dumps(value)
            archive.writestr(name, text)
    return path


def eval_members(samples: list[dict[str, Any]]) -> dict[str, Any]:
    named = {f"samples/{one['id']}_epoch_{one['epoch']}.json": one for one in samples}
    return {"_journal/start.json": HEADER, **named, "summaries.json": [], "header.json": HEADER}


def zstandard_zip(path: Path, members: dict[str, Any]) -> Path:
    """Write an archive as newer versions of inspect do: method 93, which zipfile cannot write."""
    packed = {name: json.dumps(value).encode() for name, value in members.items()}
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w") as archive:
        for name, data in packed.items():
            half = len(data) // 2  # in two frames, as long samples are
            frames = (
                pyarrow.compress(d, codec="zstd", asbytes=True) for d in (data[:half], data[half:])
            )
            archive.writestr(name, b"".join(frames))
        for info in archive.infolist():
            data = packed[info.filename]
            info.compress_type, info.file_size, info.CRC = 93, len(data), zlib.crc32(data)
    path.write_bytes(stored.getvalue())
    return path


def inspect_log(path: Path, samples: list[dict[str, Any]]) -> Path:
    if path.suffix == ".eval":
        return zipped(path, eval_members(samples))
    if path.suffix == ".zst":
        return zstandard_zip(path, eval_members(samples))
    path.write_text(json.dumps({**HEADER, "samples": samples}, indent=2), encoding="utf-8")
    return path
