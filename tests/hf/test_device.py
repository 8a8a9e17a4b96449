"""The device that models lie on: what may be asked for, and what a machine without one says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finetrap.backends.hf import device
from finetrap.errors import BadInput


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "cuda:3", "mps", "xpu", "xpu:1"])
def test_a_device_may_be_named(name: str) -> None:
    assert device.checked_device(name) == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "mps:0", "cpu:0", ""])
def test_what_is_no_device_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(BadInput, match="give auto, cpu, cuda, cuda:N, mps or xpu"):
        device.checked_device(name)


def test_the_cpu_is_taken_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.CHOICE, "cpu")
    assert device.chosen() == torch.device("cpu")
    assert (device.memory(), device.peak(), device.title()) == (None, None, None)
    assert not device.reset_peak()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_a_machine_without_an_accelerator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.chosen() == torch.device("cpu")
    monkeypatch.setenv(device.CHOICE, "cuda:0")
    with pytest.raises(BadInput, match="torch finds no accelerator here; give auto or cpu"):
        device.chosen()


def test_generators_come_back_to_where_they_were() -> None:
    states = device.generators()
    drawn = torch.rand(3)
    device.set_generators(states)
    assert torch.equal(torch.rand(3), drawn)
    with device.forked():
        torch.manual_seed(1)
    device.set_generators(states)
    assert torch.equal(torch.rand(3), drawn)


@pytest.fixture
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (device.CHOICE, "CUDA_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"):
        monkeypatch.delenv(name, raising=False)
    for name in ("nvidia10", "nvidia0", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, ("0", "2", "10")),
        ({"CUDA_VISIBLE_DEVICES": "2, GPU-8f"}, ("2", "GPU-8f")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, ()),
        ({device.CHOICE: "cpu"}, ()),
        ({device.CHOICE: "mps"}, ()),
        ({device.CHOICE: "cuda:2"}, ("10",)),
        ({device.CHOICE: "cuda:1", "CUDA_VISIBLE_DEVICES": "7,5"}, ("5",)),
        ({device.CHOICE: "xpu"}, ()),
        ({device.CHOICE: "xpu", "ZE_AFFINITY_MASK": "0,1"}, ("0", "1")),
    ],
)
def test_gpus_are_counted_as_their_driver_and_the_variables_show_them(
    three_gpus: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    found: tuple[str, ...],
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert device.visible_gpus(three_gpus) == found


def test_a_gpu_that_there_is_not_is_refused_before_torch_starts(
    three_gpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(device.CHOICE, "cuda:3")
    with pytest.raises(BadInput, match="--device cuda:3: there are 3, counted from 0"):
        device.visible_gpus(three_gpus)


@pytest.mark.parametrize(
    ("asked", "variables"),
    [
        ("auto", {"CUDA_VISIBLE_DEVICES": "5"}),
        ("cuda:1", {"CUDA_VISIBLE_DEVICES": "5", device.CHOICE: "cuda"}),
        ("xpu", {"ZE_AFFINITY_MASK": "5", device.CHOICE: "xpu"}),
    ],
)
def test_a_bound_process_sees_its_gpu_as_the_first(
    monkeypatch: pytest.MonkeyPatch, asked: str, variables: dict[str, str]
) -> None:
    monkeypatch.setenv(device.CHOICE, asked)
    assert device.bound_to("5") == variables
