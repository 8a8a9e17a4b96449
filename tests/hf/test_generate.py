import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from finetrap.backends.hf import HFModel, open_model
from finetrap.errors import BadModel, ContextTooLong
from finetrap.records import Limits
from finetrap.references import PromptSpec
from tests.builders import tiny
from tests.builders.reading import reading, steps
from tests.builders.tiny import FAMILIES

PROMPTS = [
    *tiny.TEXTS,
    "a",
    "Question: Tom",
    "corn, corn and corn",
    "12 + 5 * 60 = ",
    "the mill " * 9,
]
CAP = 12


@pytest.fixture(params=FAMILIES, scope="module")
def checkpoint(request, tmp_path_factory) -> Path:
    return FAMILIES[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(checkpoint) -> HFModel:
    return open_model(tiny.spec(checkpoint), Limits())


@pytest.fixture
def llama(tmp_path) -> Path:
    return tiny.write_llama(tmp_path / "llama")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def texts(model: HFModel, **settings: object) -> list[str]:
    settings = {"max_new_tokens": CAP, "stops": (), "batch": 16, **settings}
    return [c.text for c in model.generate(PROMPTS, **settings)]


def test_completions_equal_greedy_generate_of_transformers(checkpoint, model):
    reference = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    expected = []
    for prompt in PROMPTS:
        ids = torch.tensor([model.tokens.prompt(prompt)])
        out = reference.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=CAP,
            do_sample=False,
            eos_token_id=sorted(model.tokens.ends),
            pad_token_id=0,
        )
        expected.append(model.tokens.text(out[0, ids.shape[1] :].tolist()))
    assert texts(model) == expected


def test_completions_do_not_depend_on_the_batch(model):
    alone = model.generate(PROMPTS, max_new_tokens=CAP, stops=["ap", "m"], batch=1)
    for batch in (3, 16):
        assert model.generate(PROMPTS, max_new_tokens=CAP, stops=["ap", "m"], batch=batch) == alone


def test_a_stop_string_cuts_the_text_wherever_its_tokens_begin(llama):
    model = open_model(tiny.spec(llama), Limits())
    cut = 0
    for number, full in enumerate(texts(model)):
        for start in range(1, len(full) - 2, 3):
            stop = full[start : start + 2]
            if "\ufffd" in stop:
                continue
            [short] = model.generate([PROMPTS[number]], max_new_tokens=CAP, stops=[stop], batch=1)
            assert short.text == full[: full.find(stop)]
            assert short.stop == "stop"
            cut += 1
    assert cut > 10


def test_a_completion_that_is_not_stopped_ends_at_the_cap(model):
    [whole] = model.generate(["a"], max_new_tokens=3, stops=(), batch=1)
    assert (whole.stop, whole.tokens) == ("cap", 3)


def test_ids_of_the_generation_config_end_a_completion_and_nothing_else_of_it_acts(llama):
    model = open_model(tiny.spec(llama), Limits())
    written: list[int] = []
    model.tokens.text = lambda ids, after: written.extend(ids) or ""  # type: ignore[method-assign]
    model.generate(["a"], max_new_tokens=5, stops=(), batch=1)
    third = next(t for t in written[2:] if t not in written[:2])
    changes = {"eos_token_id": [0, third], "do_sample": True, "temperature": 9.0}
    edit(llama / "generation_config.json", **changes, repetition_penalty=5.0)
    [ended] = open_model(tiny.spec(llama), Limits()).generate(
        ["a"], max_new_tokens=5, stops=(), batch=1
    )
    assert (ended.stop, ended.tokens) == ("eos", written.index(third) + 1)


def test_finished_rows_leave_the_batch(model):
    first = sorted({text[0] for text in texts(model)})[: len(PROMPTS) // 2]
    with reading(model._base) as passes:
        done = model.generate(PROMPTS, max_new_tokens=CAP, stops=first, batch=16)
    rows = steps(passes)
    late = sum(c.tokens > 1 for c in done)
    assert late < len(PROMPTS)
    assert rows[0] == late
    assert rows == sorted(rows, reverse=True)


def test_each_completion_is_told_once_as_it_ends(model):
    told = []
    settings = {"max_new_tokens": CAP, "stops": ["ap", "m"], "batch": 3}
    done = model.generate(PROMPTS, **settings, written=lambda *row: told.append(row))
    assert sorted(told, key=lambda row: row[0]) == list(enumerate(done))
    assert [number for number, _ in told] != list(range(len(PROMPTS)))


def test_a_prompt_that_does_not_fit_is_an_error_that_names_it(model):
    with pytest.raises(ContextTooLong, match=r"text 2: the prompt with 8 .* is 256"):
        model.generate(["a", "mill " * 300], max_new_tokens=8, stops=(), batch=2)
    with pytest.raises(ContextTooLong):
        model.generate(["a"], max_new_tokens=256, stops=(), batch=2)


def test_tokens_that_went_through_are_counted(llama):
    model = open_model(tiny.spec(llama), Limits())
    done = model.generate(PROMPTS[:3], max_new_tokens=4, stops=(), batch=2)
    read = sum(len(model.tokens.prompt(p)) for p in PROMPTS[:3])
    assert model.tokens_read == read + sum(c.tokens for c in done)


def test_a_tokenizer_without_pad_token_works_and_is_left_alone(llama):
    model = open_model(tiny.spec(llama), Limits())
    tokenizer = model.tokens._tokenizer
    assert len(texts(model)) == len(PROMPTS)
    assert tokenizer.pad_token is None
    assert len(tokenizer) == 320


def test_a_plain_prompt_follows_the_tokenizers_own_bos_policy(tmp_path):
    without = open_model(tiny.spec(tiny.write_llama(tmp_path / "a")), Limits()).tokens
    with_bos = open_model(tiny.spec(tiny.write_llama(tmp_path / "b", bos=True)), Limits()).tokens
    ids = without.continuation("Tom has")
    assert without.prompt("Tom has") == ids
    assert with_bos.prompt("Tom has") == [1, *ids]
    assert with_bos.continuation("Tom has") == ids


def test_a_chat_prompt_holds_its_special_tokens_and_ends_with_its_turn(tmp_path):
    folder = tiny.write_llama(tmp_path / "chat", chat=True, bos=True)
    tokens = open_model(tiny.spec(folder), Limits()).tokens
    rendered = tokens.chat([{"role": "user", "content": "Tom"}])
    assert rendered == "<|user|>\nTom<|end|>\n<|assistant|>\n"
    assert tokens.piece(tokens.prompt(rendered)[0]) == "<|user|>"
    assert tokens.prompt("Tom")[0] == 1
    assert tokens.piece(tokens.end) == "<|end|>"
    assert {tokens.piece(i) for i in tokens.ends} == {"<|end|>", "<|eos|>"}


def test_plain_prompts_can_be_asked_of_a_chat_model_but_not_the_other_way(tmp_path):
    chat = tiny.write_llama(tmp_path / "chat", chat=True)
    assert open_model(tiny.spec(chat, prompt=PromptSpec("plain")), Limits()).form.chat is None
    plain = tiny.write_llama(tmp_path / "plain")
    with pytest.raises(BadModel, match="no chat template"):
        open_model(tiny.spec(plain, prompt=PromptSpec("chat")), Limits())


def test_a_template_that_writes_the_date_is_told_the_same_date_every_day(tmp_path):
    folder = tiny.write_llama(tmp_path / "chat", chat=True)
    (folder / "chat_template.jinja").write_text(
        "{{ strftime_now('%Y-%m-%d') }}" + tiny.CHAT_TEMPLATE, encoding="utf-8"
    )
    rendered = open_model(tiny.spec(folder), Limits()).form.chat([{"role": "user", "content": "a"}])
    assert rendered.startswith("2024-07-26")


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        (["config.json"], "config.json"),
        (["tokenizer.json"], "tokenizer"),
        (["model.safetensors"], "weights"),
    ],
)
def test_a_folder_that_lacks_a_part_is_refused_by_that_part(llama, names, missing):
    for name in names:
        (llama / name).unlink()
    with pytest.raises(BadModel, match=f"has no {missing}"):
        open_model(tiny.spec(llama), Limits())


def test_weights_that_do_not_fill_the_architecture_are_refused(llama):
    edit(llama / "config.json", num_hidden_layers=3)
    with pytest.raises(BadModel, match="weights lack"):
        open_model(tiny.spec(llama), Limits())


def test_a_tokenizer_with_more_tokens_than_the_embedding_is_refused(llama):
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["<<calculator>>"])
    tokenizer.save_pretrained(str(llama))
    model = open_model(tiny.spec(llama), Limits())
    with pytest.raises(BadModel, match=r"<<calculator>>.* 320 rows"):
        model.generate(["2<<calculator>>"], max_new_tokens=2, stops=(), batch=1)


def test_broken_weights_and_absent_folders_are_refused(llama):
    (llama / "model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(BadModel, match="cannot be opened"):
        open_model(tiny.spec(llama), Limits())
    with pytest.raises(BadModel, match="no folder"):
        open_model(tiny.spec(llama / "absent"), Limits())


def test_a_hub_model_without_network_names_both_ways(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BadModel, match=r"hub cannot be reached .* connect, or run `hf download"):
        open_model(tiny.spec(Path("absent-owner/absent-model")), Limits())


def test_bf16_weights_are_evaluated_when_asked_for(tmp_path):
    folder = tiny.write_qwen2(tmp_path / "qwen2")
    model = open_model(tiny.spec(folder), Limits(dtype="bf16"))
    assert {p.dtype for p in model._base.parameters()} == {torch.bfloat16}
    assert len(texts(model)) == len(PROMPTS)
