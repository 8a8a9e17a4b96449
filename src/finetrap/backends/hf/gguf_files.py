"""What transformers' reader of GGUF files lacks while a file is opened.

Its torch reader knows fewer block types than llama.cpp writes: where a model's width is no multiple
of 256, a file of K-quants holds some matrices as Q5_0 or Q5_1, and transformers refuses it. And for
architectures that only its older reader knows, the file is parsed three times: for the settings,
the tokenizer and the weights, in plain Python and half a minute each where the vocabulary is large.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import torch

BLOCKS = ("Q5_0", "Q5_1", "TQ1_0", "TQ2_0", "MXFP4")
"""Block types that the package gguf unpacks, by its names for them."""


@contextmanager
def reading() -> Iterator[None]:
    """Read each .gguf file once while a model is opened, whichever blocks it holds."""
    package: Any = import_module("gguf")
    _teach_blocks(package)
    reader = package.GGUFReader
    package.GGUFReader = functools.cache(reader)
    try:
        yield
    finally:
        package.GGUFReader = reader


def _teach_blocks(gguf: Any) -> None:
    """Add the missing block types to transformers' tables, where this version has such tables."""
    try:
        from transformers.integrations.gguf import dequant
    except ImportError:  # no release that finetrap is tested with: read as that one can
        return
    for name in BLOCKS:
        kind = getattr(gguf.GGMLQuantizationType, name, None)
        if kind is None or kind.value in dequant.GGML_BLOCK:
            continue
        dequant.GGML_NAME[kind.value] = name
        dequant.GGML_BLOCK[kind.value] = gguf.GGML_QUANT_SIZES[kind]
        dequant._DEQUANT[kind.value] = _unpacker(gguf, kind)


def _unpacker(gguf: Any, kind: Any) -> Callable[[torch.Tensor, torch.dtype], torch.Tensor]:
    """Return what turns blocks, [blocks, bytes of one], into values, [blocks, values of one]."""

    def unpack(blocks: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        values = gguf.quants.dequantize(blocks.cpu().numpy(), kind)
        return torch.from_numpy(values).to(device=blocks.device, dtype=dtype)

    return unpack
