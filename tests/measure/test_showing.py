"""What is shown of a study before it runs is what is trained on and asked."""

from __future__ import annotations

from pathlib import Path

from finetrap.backends import Row
from finetrap.backends.hf import open_model
from finetrap.measure.showing import Shown, shown_texts
from finetrap.records import Limits
from tests.builders import tiny
from tests.builders.studies import load, small

PROMPT = "[prompt]\ntemplate = ['Solve: {question}\\n', '{question}']"


def test_a_training_row_and_a_test_prompt_of_every_model_and_prompt_are_shown(
    tmp_path: Path,
) -> None:
    own = f"{PROMPT}\n[limits]\ntest_problems = 3"
    study = load(tmp_path, small(models='["mini-0.1m"]', own=own))
    found = list(shown_texts(study))
    assert [one.training for one in found] == [True, False, True, False]
    for one in found:
        read = "".join(text for text, in_loss in one.tokens if not in_loss)
        learned = "".join(text for text, in_loss in one.tokens if in_loss)
        assert read == one.prompt
        assert learned == (f"{one.target}<|end|>" if one.training else "")
    assert [one.prompt.startswith("Solve: ") for one in found] == [True, True, False, False]
    assert [one.stops for one in found[1::2]] == [("Solve:",), ()]


def test_without_training_only_the_test_is_shown_and_of_choices_the_first(tmp_path: Path) -> None:
    rows = Path(__file__).parents[1] / "data" / "piqa"
    data = f'[data]\npiqa = "{rows}"'
    study = load(tmp_path, small(tasks='["piqa"]', strategies='["zero-shot"]', data=data))
    (one,) = shown_texts(study)
    assert (one.training, one.task) == (False, "piqa")
    assert one.prompt.endswith("\nAnswer:")


def test_no_weights_are_read_to_show_a_model(tmp_path: Path) -> None:
    folder = tiny.write_qwen2(tmp_path / "model")
    study = load(tmp_path, small(models='["./model"]'))
    whole = [texts_of(one) for one in shown_texts(study)]
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert [texts_of(one) for one in shown_texts(study)] == whole
    model = open_model(tiny.spec(tiny.write_qwen2(tmp_path / "again")), Limits())
    assert whole[0][1] == tuple(model.shown(Row(whole[0][0], whole[0][2])))


def texts_of(one: Shown) -> tuple[str, tuple[tuple[str, bool], ...], str]:
    return one.prompt, one.tokens, one.target
