"""Small tokenizers, each built in the way of a family of models."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tests.builders import tiny

MARK = "▁"
SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
CHAT_TEMPLATE = (
    "<s>{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
LETTERS = [*map(chr, range(32, 127)), MARK, "\n"]


def made(core: Tokenizer, *, chat: bool) -> PreTrainedTokenizerFast:
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", core.token_to_id("<s>"))]
    )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    found = PreTrainedTokenizerFast(tokenizer_object=core, **names)
    if chat:
        found.chat_template = CHAT_TEMPLATE
    return found


def trained(core: Tokenizer, special: Sequence[str], size: int = 300) -> Tokenizer:
    trainer = trainers.BpeTrainer(
        vocab_size=size + len(special),
        special_tokens=list(special),
        initial_alphabet=LETTERS,
        show_progress=False,
    )
    core.train_from_iterator(tiny.TEXTS * 4, trainer)
    state = json.loads(core.to_str())  # bytes are in the vocabulary and are no special tokens
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] not in BYTES]
    return Tokenizer.from_str(json.dumps(state))


def llama2() -> Tokenizer:
    """A mark before every text and for every space, and nothing cuts a text into words."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="always")
    core = trained(core, [*SPECIAL, *BYTES])
    core.pre_tokenizer = None
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)]
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace(MARK, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return core


def metaspace(scheme: str) -> Tokenizer:
    """A mark before the first word, or before every part between special tokens."""
    core = Tokenizer(models.BPE(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme=scheme)
    core.decoder = decoders.Metaspace(MARK, prepend_scheme=scheme)
    return trained(core, SPECIAL)


def gemma() -> Tokenizer:
    """Marks for spaces, but none before a text."""
    core = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    core.normalizer = normalizers.Replace(" ", MARK)
    core.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    core.decoder = decoders.Sequence(
        [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return trained(core, [*SPECIAL, *BYTES])


def byte_level() -> Tokenizer:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(tiny.TEXTS * 4, trainer)
    return core


def unigram() -> Tokenizer:
    core = Tokenizer(models.Unigram())
    core.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="always")
    core.decoder = decoders.Metaspace(MARK, prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=SPECIAL,
        unk_token="<unk>",
        initial_alphabet=LETTERS,
        show_progress=False,
    )
    core.train_from_iterator(tiny.TEXTS * 4, trainer)
    return core


def word_piece() -> Tokenizer:
    core = Tokenizer(models.WordPiece(unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=SPECIAL, initial_alphabet=LETTERS, show_progress=False
    )
    core.train_from_iterator(tiny.TEXTS * 4, trainer)
    return core


NORMALISERS: dict[str, Callable[[], normalizers.Normalizer]] = {
    "lower case": normalizers.Lowercase,
    "nfkc": normalizers.NFKC,
    "accents": lambda: normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
    "bert": lambda: normalizers.BertNormalizer(lowercase=True),
}


def normalising(name: str, *, chat: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that changes every text before it cuts it."""
    core = byte_level()
    core.normalizer = NORMALISERS[name]()
    return made(core, chat=chat)


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "llama 2": llama2,
    "metaspace, always": lambda: metaspace("always"),
    "metaspace, first": lambda: metaspace("first"),
    "gemma": gemma,
    "byte level": byte_level,
    "unigram": unigram,
    "word piece": word_piece,
}


def family(name: str, *, chat: bool = False) -> PreTrainedTokenizerFast:
    return made(FAMILIES[name](), chat=chat)
