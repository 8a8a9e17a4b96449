"""Model folders that bring Python code of their own, which must not run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.builders.tiny import write_llama

CODE = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
Path({mark!r}).touch()
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
class OwnConfig(LlamaConfig):
    model_type = "own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(PreTrainedTokenizerFast):
    pass
"""
MAPS = {
    "config.json": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    "tokenizer_config.json": {"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]},
}
CHANGES = {
    "config.json": {"model_type": "own", "architectures": ["OwnModel"]},
    "tokenizer_config.json": {"tokenizer_class": "OwnTokenizer"},
}


def with_code(folder: Path, mark: Path, *names: str, known: bool) -> Path:
    """Write a model that brings a module; `known` leaves it a class that transformers has too."""
    write_llama(folder)
    (folder / "own.py").write_text(CODE.format(mark=str(mark)))
    for name in names:
        settings = json.loads((folder / name).read_text())
        settings["auto_map"] = MAPS[name]
        (folder / name).write_text(json.dumps(settings | ({} if known else CHANGES[name])))
    return folder
