"""A model's and an adapter's folder in which one file holds other bytes: opened and asked."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import peft
import torch
import transformers

from finetrap import miniature
from finetrap.backends.hf import source
from finetrap.backends.hf.load import load_checkpoint, tokens_of
from finetrap.errors import BadModel, out_of_memory

MINIATURE = Path(miniature.__file__).parent / "checkpoints" / "mini-0.1m"
FILES = (
    *("config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"),
    *("generation_config.json", "adapter_config.json", "adapter_model.safetensors"),
)
BASE = "@BASE@"
"""Stands for the folder of the adapter's base."""


class Models:
    """The smallest miniature and a LoRA adapter of it; a byte chooses a file to be replaced.

    Weights may be given by their header alone, in JSON; the numbers that follow are the whole
    file's. A base that is no folder here is not looked for.
    """

    shape, head, seconds = "json", 1, 20.0

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        self._base, self._adapter = folder / "mini", folder / "adapter"
        shutil.copytree(MINIATURE, self._base)
        network = transformers.AutoModelForCausalLM.from_pretrained(self._base)
        lora = peft.LoraConfig(r=2, task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"])
        peft.get_peft_model(network, lora).save_pretrained(self._adapter)
        self.whole = {name: (self._home(name) / name).read_bytes() for name in FILES}
        told = json.loads(self.whole["adapter_config.json"])
        told["base_model_name_or_path"] = BASE
        self.whole["adapter_config.json"] = json.dumps(told).encode()

    def __call__(self, data: bytes) -> None:
        name = FILES[int.from_bytes(data[:1], "big") % len(FILES)]
        place = self._home(name) / name
        place.write_bytes(self._filled(name, data[1:]))
        try:
            self._asked(place.parent)
        except BaseException as failure:
            if not out_of_memory(failure):  # told to the person who runs it, with what to do
                raise
            raise BadModel(f"{name}: too large") from failure
        finally:
            place.write_bytes(self._filled(name, self.whole[name]))

    def _home(self, name: str) -> Path:
        return self._adapter if name.startswith("adapter") else self._base

    def _filled(self, name: str, body: bytes) -> bytes:
        """Return a file's bytes: a header of weights with numbers behind it, a base's folder."""
        if name.endswith(".safetensors") and body.startswith(b"{"):
            whole = self.whole[name]
            body = struct.pack("<Q", len(body)) + body + whole[8 + len(header(whole)) :]
        return body.replace(BASE.encode(), str(self._base).encode())

    def _asked(self, folder: Path) -> None:
        """Open the model of a folder, and let its tokenizer write a prompt."""
        spec = source.spec("mini", str(folder), {}, folder)
        if spec.base and not Path(spec.base).is_dir():
            raise BadModel(f"{spec.base} is on the hub, if anywhere")
        tokens = tokens_of(load_checkpoint(spec, torch.device("cpu")), "auto")
        tokens.prompt("a 7")
        _ = tokens.identity


def header(weights: bytes) -> bytes:
    """Return the JSON at the head of a safetensors file."""
    (size,) = struct.unpack("<Q", weights[:8])
    return weights[8 : 8 + size]
