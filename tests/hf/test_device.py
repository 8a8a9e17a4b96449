"""The device that models lie on: what may be asked for, and what a machine without one says."""

from __future__ import annotations

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
