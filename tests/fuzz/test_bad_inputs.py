"""A catalogue of bad inputs: each gives its exit code, one message that says what to do, and no
traceback."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from finetrap import miniature
from finetrap.backends.hf import source
from finetrap.cli import main

MINIATURE = Path(miniature.__file__).parent / "checkpoints" / "mini-0.1m"

STUDY = """name = "bad"
models = ["toy:base=0.6"]
tasks = ["market"]
strategies = ["full"]
seeds = [0]
[train]
problems = 20
epochs = 1
[limits]
test_problems = 10
max_new_tokens = 40
"""
GOOD = '{"id": 1, "correct": true, "completion": "#### 2", "gold": "2", "question": "a?"}\n'
DEEP = "[" * 50_000
DIGITS = "9" * 10_000

# What a file of rows may hold instead of rows
ROWS: dict[str, bytes] = {
    "empty": b"",
    "blank": b"\n \n\t\n",
    "a word": b"hello",
    "a mark alone": b"\xef\xbb\xbf",
    "not UTF-8": b'{"a": "caf\xe9"}\n',
    "NUL bytes": b'{"a": "\0"}\n',
    "UTF-16 without its mark": GOOD.encode("utf-16-le"),
    "half a UTF-16 character": b"\xff\xfe\x00",
    "cut gzip": gzip.compress(GOOD.encode())[:-9],
    "noise after gzip's mark": b"\x1f\x8b" + bytes(range(40)),
    "noise after bzip2's mark": b"BZh9" + bytes(range(40)),
    "noise after xz's mark": b"\xfd7zXZ\x00" + bytes(range(40)),
    "noise after zstd's mark": b"\x28\xb5\x2f\xfd" + bytes(range(40)),
    "a zip archive": b"PK\x03\x04" + bytes(40),
    "a tar archive": bytes(257) + b"ustar" + bytes(300),
    "an Arrow file": b"ARROW1" + bytes(40),
    "noise after Parquet's mark": b"PAR1" + bytes(40) + b"PAR1",
    "half an object": b'{"completion": "x", "gold": ',
    "an object over lines": b'{\n"completion": "x",\n"gold": "2"\n}\n',
    "two objects on a line": b'{"a": 1} {"a": 2}\n',
    "a list without end": b'[{"completion": "x"}',
    "a list of numbers": b"[1, 2]",
    "an empty list": b"[]",
    "a list, and more": b'[{"a": 1}] x',
    "a number on a line": GOOD.encode() + b"3\n",
    "a list on a line": GOOD.encode() + b"[1]\n",
    "NaN": b'{"completion": NaN, "gold": "2"}\n',
    "infinite": b'{"completion": "x", "gold": Infinity}\n',
    "lists 50,000 deep": DEEP.encode(),
    "an object's value 50,000 deep": b'{"completion": ' + DEEP.encode() + b"\n",
    "10,000 digits": b'{"completion": "x", "gold": ' + DIGITS.encode() + b"}\n",
    "a table with two columns of one name": b"gold,gold\n1,2\n",
    "a table with a short row": b"completion,gold\nx\n",
    "a table with an open quote": b'completion,gold\n"x,2\n',
    "a table without rows": b"completion,gold\n",
    "a table with other columns": b"a,b\n1,2\n",
    "other keys": b'{"a": 1}\n',
    "an empty object": b"{}\n",
    "keys of null": b'{"completion": null, "gold": null, "question": null, "answer": null}\n',
    "lists for text": b'{"completion": [], "gold": [], "question": [], "answer": []}\n',
}
READERS = {
    "grade": ["grade", "rows"],
    "compare": ["compare", "rows", "good.jsonl"],
    "diagnose": ["diagnose", "--before", "good.jsonl", "--after", "rows"],
    "overlap": ["overlap", "--train", "rows", "--test", "good.jsonl"],
    "run": ["run", "data.toml"],
}

# Names that no file can have, or that are no file
PATHS = {
    "missing": "nowhere.jsonl",
    "a folder": "folder",
    "NUL": "a\0b",
    "no such user": "~nosuchuser/x.jsonl",
    "half a surrogate pair": "\ud800.jsonl",
    "below a file": "good.jsonl/x",
    "a loop of links": "loop",
    "empty": "",
}
PLACES = {
    "grade": ["grade", "PATH"],
    "compare": ["compare", "PATH", "good.jsonl"],
    "diagnose": ["diagnose", "--before", "PATH", "--after", "good.jsonl"],
    "overlap": ["overlap", "--train", "PATH", "--test", "good.jsonl"],
    "run": ["run", "PATH"],
    "plan": ["plan", "PATH"],
    "fsck": ["fsck", "PATH"],
    "report": ["report", "--runs", "PATH"],
    "regrade": ["regrade", "PATH"],
    "try": ["try", "toy:base=0.5", "--train", "PATH"],
    "judge": ["judge", "--base", "mini-0.1m", "--tuned", "PATH", "--task", "market"],
}
LET_THROUGH = {("fsck", "a folder"), ("fsck", "empty"), ("judge", "below a file")}
"""An empty runs folder is whole, an empty name is the folder where one is, and a/b a hub id."""

# Studies, by what is done to a good one
STUDIES: dict[str, str | bytes] = {
    "not TOML": STUDY + "seeds = [",
    "a key twice": STUDY + "problems = 3\nproblems = 4\n",
    "a name twice": STUDY.replace('["market"]', '["market", "market"]'),
    "not UTF-8": STUDY.encode() + b"# caf\xe9",
    "NUL": STUDY + "\0",
    "a control character": STUDY.replace('"bad"', '"b\x01ad"'),
    "a lone surrogate": STUDY.replace('"bad"', '"\\uD800"'),
    "900 levels": STUDY + "deep = " + "[" * 900 + "]" * 900,
    "a model of no such user": STUDY.replace("toy:base=0.6", "~nosuchuser/m"),
    "a model with NUL": STUDY.replace("toy:base=0.6", "./m\\u0000"),
    "data of no such user": STUDY.replace('"market"', '"jsonl:~nosuchuser/a.jsonl"'),
    "data with NUL": STUDY.replace('"market"', '"jsonl:a\\u0000"'),
    "data in a loop of links": STUDY.replace('"market"', '"jsonl:loop"'),
    "a model file with NUL": STUDY.replace("toy:base=0.6", "tox:m\\u0000.toml"),
    "a test file with NUL": STUDY.replace('"market"', '"jsonl:good.jsonl"')
    + '[task."jsonl:good.jsonl"]\ntest = "a\\u0000"\n',
    "an own scorer with NUL": STUDY.replace('"market"', '"jsonl:good.jsonl"')
    + '[task."jsonl:good.jsonl"]\nscoring = "python:a\\u0000.py:f"\n',
    "a method with NUL": STUDY.replace('"full"', '"./m\\u0000.toml"'),
    "tables 5,000 deep": STUDY + "[" + ".".join(["a"] * 5000) + "]\n",
    "50,000 levels": STUDY + "deep = " + DEEP,
    "10,000 digits": STUDY.replace("problems = 20", f"problems = {DIGITS}"),
    "10,000 digits of a fraction": STUDY.replace("epochs = 1", f"epochs = 1.{DIGITS}e999"),
    "an empty name": STUDY.replace('"bad"', '""'),
    "a list for a name": STUDY.replace('"bad"', '["bad"]'),
    "a date": STUDY.replace("epochs = 1", "epochs = 2020-01-01"),
    "an endless rate": STUDY + "[strategy.full]\nlearning_rate = inf\n",
    "no rate": STUDY + "[strategy.full]\nlearning_rate = nan\n",
    "no epochs": STUDY.replace("epochs = 1", "epochs = nan"),
    "a negative seed": STUDY.replace("[0]", "[-1]"),
    "a fraction of problems": STUDY.replace("problems = 20", "problems = 1.5"),
    "a truth for a number": STUDY.replace("problems = 20", "problems = true"),
    "an unknown table": STUDY + "[trian]\nepochs = 1\n",
    "a table for a list": STUDY.replace('["full"]', "{}"),
    "data that is a folder": STUDY.replace('"market"', '"jsonl:folder"'),
    "a toy of no number": STUDY.replace("base=0.6", "base=nan"),
    "a study of nothing": "",
    "a name of 100,000 characters": STUDY.replace("market", "m" * 100_000),
    "5,000 unknown settings": STUDY + "".join(f"k{i} = 1\n" for i in range(5000)),
    "direction marks": STUDY.replace('"full"', '"\u202efull"'),
}

CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32}
MODELS: dict[str, dict[str, bytes]] = {
    "nothing": {},
    "a configuration that is no JSON": {"config.json": b"{"},
    "a configuration that is a list": {"config.json": b"[]"},
    "a configuration that is deep": {"config.json": DEEP.encode()},
    "a configuration of 10,000 digits": {
        "config.json": b'{"vocab_size": ' + DIGITS.encode() + b"}"
    },
    "a configuration that is not UTF-8": {"config.json": b'{"a": "\xff"}'},
    "no weights": {"config.json": json.dumps(CONFIG).encode()},
    "weights of no bytes": {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": b"",
    },
    "weights with an endless header": {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": struct.pack("<Q", 2**63) + b"{}",
    },
    "weights of noise": {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors": bytes(range(256)),
    },
    "an index that leaves the folder": {
        "config.json": json.dumps(CONFIG).encode(),
        "model.safetensors.index.json": b'{"weight_map": {"a": "../../etc/passwd"}}',
    },
    "an adapter without its base": {"adapter_config.json": b"{}"},
    "an adapter's configuration that is deep": {"adapter_config.json": DEEP.encode()},
    "an adapter that is a list": {"adapter_config.json": b"[]"},
    "a pickle": {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"\x80\x04."},
}

SHAPES = {
    "a list": b"[]",
    "null": b"null",
    "a number": b"3",
    "a text": b'"x"',
    "deep": DEEP.encode(),
    "10,000 digits": DIGITS.encode(),
    "half an object": b"{",
    "of no bytes": b"",
    "not UTF-8": b'{"a": "\xff"}',
    "NUL bytes": bytes(99),
}

OPTIONS = {
    "unknown verb": ["mesure"],
    "unknown option": ["run", "style", "--wrokers", "2"],
    "no study": ["run"],
    "no number": ["run", "style", "--workers", "two"],
    "no workers": ["run", "style", "--workers", "0"],
    "workers of 10,000 digits": ["run", "style", "--workers", DIGITS],
    "a setting without value": ["run", "style", "--set", "train.epochs"],
    "a setting without name": ["run", "style", "--set", "=1"],
    "an unknown setting": ["run", "style", "--set", "train.epoch=1"],
    "a deep setting": ["run", "style", "--set", "train.epochs=" + "[" * 900],
    "a setting of 10,000 digits": ["run", "style", "--set", f"train.epochs={DIGITS}"],
    "a setting that is a comment": ["run", "style", "--set", "#=1"],
    "a setting below a number": ["run", "style", "--set", "name.x.y=1"],
    "a study that does not ship": ["run", "styel"],
    "margin nan": ["compare", "good.jsonl", "good.jsonl", "--margin", "nan"],
    "margin inf": ["compare", "good.jsonl", "good.jsonl", "--margin", "inf"],
    "margin below 0": ["compare", "good.jsonl", "good.jsonl", "--margin", "-5"],
    "margin above 100": ["compare", "good.jsonl", "good.jsonl", "--margin", "500"],
    "memory inf": ["advise", "mini-1m", "--max-memory", "inf"],
    "memory nan": ["advise", "mini-1m", "--max-memory", "nan"],
    "retention above 100": ["advise", "mini-1m", "--min-retention", "101"],
    "budget nan": ["try", "mini-1m", "--train", "good.jsonl", "--budget", "nan"],
    "budget below 0": ["try", "mini-1m", "--train", "good.jsonl", "--budget", "-1"],
    "a column without name": ["try", "mini-1m", "--train", "good.jsonl", "--column", "=x"],
    "a row that is not there": ["grade", "good.jsonl", "--explain", "77"],
    "out is a folder": ["grade", "good.jsonl", "--out", "folder"],
    "out below a file": ["grade", "good.jsonl", "--out", "good.jsonl/x"],
    "out with NUL": ["grade", "good.jsonl", "--out", "a\0b"],
    "a run that is not there": ["diagnose", "abc", "--runs", "folder"],
    "one side of two": ["diagnose", "--before", "good.jsonl"],
    "a task that is none": ["judge", "--base", "mini-1m", "--tuned", "folder", "--task", "markt"],
    "a base that is none": ["judge", "--base", "mini-9m", "--tuned", "folder", "--task", "market"],
    "an unknown list": ["list", "modles"],
    "a verb of 100,000 characters": ["x" * 100_000],
    "a file of 100,000 characters": ["grade", "x" * 100_000],
    "a setting of 100,000 characters": ["run", "style", "--set", "x" * 100_000],
    "hostile characters for a verb": ["\x1b[31m\u202e=cmd|\n"],
    "hostile characters for a file": ["grade", "\x1b[31m\u202e=cmd|\n"],
    "hostile characters for a setting": ["run", "style", "--set", "\x1b[31m\u202e=cmd|\n=1"],
    "hostile characters for a model": ["try", "\x1b[31m\u202e=cmd|\n", "--train", "good.jsonl"],
    "hostile characters for a name in a list": ["list", "\x1b[31m\u202e=cmd|\n"],
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with what the commands above name."""
    monkeypatch.chdir(tmp_path)
    Path("good.jsonl").write_text(GOOD)
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    return tmp_path


Refused = Callable[..., str]


@pytest.fixture
def refused(here: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Return what runs a command that must be refused, and returns its message."""

    def run(*arguments: str, code: int = 2) -> str:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        said = capfd.readouterr()
        message = said.out + said.err
        assert ended.value.code == code, message[-1000:]
        assert "Traceback" not in message
        assert message.count("finetrap: ") == 1, message[-1000:]
        assert len(message) < 4000, "a message is read by a person"
        assert not set(message) & set("\0\x1b\u202e")
        assert not any("\ud800" <= char <= "\udfff" for char in message)
        return message

    return run


@pytest.mark.parametrize(
    "reader",
    [
        "grade",
        *(pytest.param(name, marks=pytest.mark.full) for name in READERS if name != "grade"),
    ],
)
@pytest.mark.parametrize("rows", ROWS)
def test_rows(rows: str, reader: str, refused: Refused) -> None:
    Path("rows").write_bytes(ROWS[rows])
    Path("data.toml").write_text(STUDY.replace('"market"', '"jsonl:rows"'))
    assert "rows" in refused(*READERS[reader])


@pytest.mark.parametrize(
    "place",
    [
        "grade",
        "run",
        *(pytest.param(n, marks=pytest.mark.full) for n in PLACES if n not in ("grade", "run")),
    ],
)
@pytest.mark.parametrize("path", PATHS)
def test_paths(path: str, place: str, refused: Refused) -> None:
    if (place, path) in LET_THROUGH:
        pytest.skip("that is no fault here")
    refused(*(PATHS[path] if word == "PATH" else word for word in PLACES[place]))


@pytest.mark.parametrize("study", STUDIES)
def test_studies(study: str, refused: Refused) -> None:
    content = STUDIES[study]
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    Path("bad.toml").write_bytes(data)
    refused("plan", "bad.toml")


@pytest.mark.parametrize("model", MODELS)
def test_model_folders(model: str, refused: Refused) -> None:
    Path("model").mkdir()
    for name, content in MODELS[model].items():
        Path("model", name).write_bytes(content)
    Path("bad.toml").write_text(STUDY.replace("toy:base=0.6", "./model"))
    assert "model" in refused("run", "bad.toml", "--workers", "1")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        pytest.param(n, s, marks=[] if n == "tokenizer.json" or s == "a list" else pytest.mark.full)
        for n, s in product(source.SETTINGS, SHAPES)
    ],
)
def test_a_file_of_settings_beside_a_whole_model(name: str, shape: str, refused: Refused) -> None:
    shutil.copytree(MINIATURE, "model")
    Path("model", name).write_bytes(SHAPES[shape])
    Path("bad.toml").write_text(STUDY.replace("toy:base=0.6", "./model"))
    said = refused("plan", "bad.toml")
    assert f"model/{name} " in said
    assert "JSON object" in said
    assert "save the model again" in said


@pytest.mark.parametrize("option", OPTIONS)
def test_options(option: str, refused: Refused) -> None:
    refused(*OPTIONS[option])


@pytest.mark.parametrize("column", ["completion", "gold"])
@pytest.mark.parametrize("verb", ["grade", "diagnose"])
def test_a_line_of_ten_megabytes_is_refused_at_once(
    verb: str, column: str, refused: Refused
) -> None:
    row = {"id": 1, "completion": "2", "gold": "2", column: "2 " * 5_000_000}
    Path("rows").write_text(json.dumps(row) + "\n")
    start = time.process_time()
    assert "at most 1,000,000 are graded" in refused(*READERS[verb])
    assert time.process_time() - start < 3


def test_the_catalogue_is_long_enough() -> None:
    files = len(ROWS) * len(READERS) + len(PATHS) * len(PLACES)
    assert files + len(STUDIES) + len(MODELS) + len(OPTIONS) >= 120
