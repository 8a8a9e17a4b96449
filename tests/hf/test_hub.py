"""Models on the hub: found in a cache without a network, and told one by one what is amiss."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.builders.gguf_files import write_llama_gguf
from tests.builders.tiny import write_llama

COMMIT = "0123456789012345678901234567890123456789"
CODE = """
import json, sys, torch
from finetrap.backends.hf.load import load_checkpoint
from finetrap.errors import FinetrapError
from finetrap.measure.study.models import resolve
from pathlib import Path
for entry in sys.argv[1:]:
    try:
        opened = load_checkpoint(resolve(entry, Path(), {}), torch.device("cpu"))
        print(json.dumps(dict(opened.made_from)))
    except FinetrapError as fault:
        print(json.dumps(str(fault)))
"""
ERRORS = {
    "gated": (403, "GatedRepo"),
    "gone": (404, "RepoNotFound"),
    "old": (404, "RevisionNotFound"),
}


def opened(cache: Path, *entries: str, **variables: str) -> list[object]:
    """Open hub ids in a process with a cache of its own; return a message or facts for each."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *entries],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HOME": str(cache), **variables},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def cached(cache: Path, name: str, folder: Path) -> Path:
    """Lay a folder down as the hub's library keeps a model, `main` and the tag `v1` at a commit."""
    place = cache / "hub" / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    for ref in ("main", "v1"):
        (place / "refs" / ref).write_text(COMMIT)
    return Path(shutil.copytree(folder, place / "snapshots" / COMMIT))


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> list[object]:
    root = tmp_path_factory.mktemp("hub")
    whole = write_llama(root / "whole")
    cached(root, "org/whole", whole)
    pickled = cached(root, "org/pickled", whole)
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    wordless = cached(root, "org/wordless", whole)
    for file in wordless.glob("tokenizer*"):
        file.unlink()
    network = AutoModelForCausalLM.from_pretrained(whole)
    adapted = get_peft_model(network, LoraConfig(task_type="CAUSAL_LM"))
    adapted.peft_config["default"].base_model_name_or_path = "org/whole"
    adapted.save_pretrained(str(root / "adapter"))
    cached(root, "org/adapter", root / "adapter")
    files = root / "files"
    files.mkdir()
    shutil.copy(write_llama_gguf(root / "gguf"), files / "tiny-f32.gguf")
    cached(root, "org/files", files)
    entries = ("whole", "whole@v1", "adapter", "whole@v2", "absent", "pickled", "wordless")
    entries += ("files:tiny-f32.gguf", "files@v1:tiny-f32.gguf", "files:none.gguf", "no:a.gguf")
    return opened(root, *(f"org/{name}" for name in entries), HF_HUB_OFFLINE="1")


def test_a_cached_model_is_opened_without_a_network(offline):
    assert offline[:2] == [{"commit": COMMIT}] * 2


def test_an_adapter_on_the_hub_is_merged_into_the_base_that_it_names(offline):
    assert offline[2] == {"commit": COMMIT, "adapter": "LORA, merged into org/whole"}


@pytest.mark.parametrize(("place", "name"), [(3, "org/whole' at revision 'v2"), (4, "org/absent'")])
def test_what_is_not_cached_offline_is_told_with_the_command_that_fetches_it(offline, place, name):
    said = str(offline[place])
    assert name in said
    assert "(HF_HUB_OFFLINE is set): connect, or run `hf download org/" in said


def test_pickled_weights_of_the_hub_are_refused(offline):
    assert "'org/pickled' at revision 'main' has no model.safetensors" in str(offline[5])
    assert "allow_pickle = true" in str(offline[5])


def test_a_model_without_a_tokenizer_is_named(offline):
    assert "'org/wordless' at revision 'main' has no tokenizer" in str(offline[6])


def test_a_gguf_file_of_a_hub_id_is_opened(offline):
    held = {"commit": COMMIT, "weights": "GGUF: F32 (20 tensors)"}
    assert offline[7:9] == [held] * 2


@pytest.mark.parametrize(("place", "name"), [(9, "org/files none.gguf"), (10, "org/no a.gguf")])
def test_a_gguf_file_that_is_not_cached_is_told_with_the_command_that_fetches_it(
    offline, place, name
):
    assert f"run `hf download {name} --revision main`" in str(offline[place])


class Hub(BaseHTTPRequestHandler):
    """A hub that has nothing: how it refuses is told by the model's name."""

    def do_HEAD(self) -> None:
        code, cause = next(found for name, found in ERRORS.items() if f"/{name}" in self.path)
        self.send_response(code)
        self.send_header("X-Error-Code", cause)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def refused(tmp_path_factory) -> Iterator[list[str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    names = ("org/gated", "org/gone", "org/old@v9")
    root = tmp_path_factory.mktemp("online")
    found = opened(root, *names, HF_ENDPOINT=address, HF_HUB_OFFLINE="0")
    yield [str(one).replace(address, "HUB") for one in found]
    server.shutdown()


def test_a_gated_model_is_told_with_where_to_ask(refused):
    assert "'org/gated' is gated: ask for access on HUB/org/gated, then log in" in refused[0]


def test_a_model_that_is_not_there_is_told_with_what_to_check(refused):
    assert "'org/gone' is not on the hub, or not for you: check its spelling" in refused[1]


def test_a_revision_that_is_not_there_is_told(refused):
    assert "has no revision 'v9': give a branch, tag or commit" in refused[2]
