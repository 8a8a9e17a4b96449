"""What is held in memory: untouched weights in a file, few products kept ready."""

import gc
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from finetrap.backends.hf import memory, open_model
from finetrap.backends.hf.network import Network
from finetrap.backends.hf.training import passes
from finetrap.records import Limits, TrainSpec
from tests.builders import tiny
from tests.builders.tiny import ROWS, STRATEGIES, digest


@pytest.fixture
def model(tmp_path):
    return open_model(tiny.spec(tiny.write_llama(tmp_path)), Limits())


def test_untouched_weights_lie_in_a_file_during_full_training(model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    before = digest(model)
    for _ in range(2):
        model.train(ROWS, STRATEGIES["full"], TrainSpec(batch=6), seed=0)
        assert digest(model) != before
        [file] = (tmp_path / "scratch").rglob("originals.safetensors")
        assert file.stat().st_size > 4 * model.parameters
        model.reset()
        assert digest(model) == before
    model._originals = None  # as when the model goes
    gc.collect()
    assert not file.exists()


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a disk that has this room."""
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))


def test_untouched_weights_stay_in_memory_where_there_is_no_room(model):
    before = digest(model)
    with no_file_above(2**12):
        model.train(ROWS, STRATEGIES["full"], TrainSpec(batch=6), seed=0)
    assert model._originals._folder is None
    model.reset()
    assert digest(model) == before


def test_activations_may_take_what_the_weights_do_where_all_are_trained(model):
    frozen = Network(model._base)
    assert passes.activation_bytes(frozen) == 3 * 2**28
    model._base.requires_grad_(True)
    held = sum(weight.nbytes for weight in model._base.parameters())
    assert passes.activation_bytes(frozen, share=2**12) == max(2**28, 2**12 * held)


SHAPES = """
import sys, torch
from finetrap.backends.hf import memory
if sys.argv[1] == "few":
    memory.keep_freed()
weight = torch.randn(64, 64).bfloat16()
def read():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
for rows in range(1, 200):
    torch.randn(rows, 64).bfloat16() @ weight
before = read()
for rows in range(200, 450):
    torch.randn(rows, 64).bfloat16() @ weight
print(read() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_few_shapes_of_products_are_kept_ready():
    """What each shape of a product leaves behind is bounded by their number, not by the run."""
    plain = {name: value for name, value in os.environ.items() if name not in memory._KEPT}
    held = {}
    for case in ("all", "few"):
        command = [sys.executable, "-c", SHAPES, case]
        held[case] = int(subprocess.check_output(command, text=True, env=plain))
    if held["all"] < 2**25:
        pytest.skip("this processor's products of bfloat16 leave nothing behind")
    assert held["few"] < 0.3 * held["all"]
