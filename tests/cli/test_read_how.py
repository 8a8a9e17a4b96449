from finetrap.cli import read_how
from tests.builders import runs


def test_status_names_models_that_are_read_plainly_and_the_layers_that_are_adapted():
    fast, plain, lora = (runs.run(runs.ZERO, [1], seed).cell for seed in range(3))
    environments = {
        fast.key: {"read": {"attention": "sdpa", "completions": "shared"}},
        plain.key: {"read": {"attention": "eager", "completions": "plain"}},
        lora.key: {"read": {"completions": "plain", "adapted": "q_proj, v_proj"}},
    }
    windowed = runs.run(runs.ZERO, [1], 3).cell
    read = {"attention": "sdpa", "completions": "padded", "window": "512"}
    (line,) = read_how.how_read([windowed], {windowed.key: {"read": read}})
    assert line.endswith(
        "shares what prompts start with as long as they and their answers fit 512 tokens"
    )
    lines = read_how.how_read([fast, plain, lora], environments)
    assert ["transformers' own generate" in line for line in lines] == [True, False, False]
    assert "no sdpa" in lines[1]
    assert lines[2].endswith("adapts q_proj, v_proj")
    assert read_how.how_read([fast], environments) == read_how.how_read([fast], {}) == []
