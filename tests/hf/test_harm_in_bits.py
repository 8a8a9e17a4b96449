"""A harm in bits per byte is none the less a harm where a tokenizer marks spaces.

Encoded apart from its prompt, a target begins with a space mark that no model ever saw there.
A training that makes that other token likelier, and the real one less likely, is no improvement.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetrap.backends.hf import HFModel, open_model
from finetrap.judge.verdicts import verdicts_on
from finetrap.records import Limits
from tests.builders import tiny, tokenizers
from tests.builders.runs import FULL, ZERO, by_strategy, run

PAIRS = [(f"{a} and {b} make\n", str((a * b) % 10)) for a in range(3, 9) for b in range(2, 9)]


def nats_apart(model: HFModel, network: LlamaForCausalLM) -> list[float]:
    """Nats of each target as it is encoded apart from its prompt."""
    found = []
    for prompt, target in PAIRS:
        before, after = model.tokens.prompt(prompt), list(model.tokens.continuation(target))
        with torch.no_grad():
            logits = network(torch.tensor([[*before, *after]])).logits[0].log_softmax(-1)
        found.append(-sum(float(logits[len(before) - 1 + i, x]) for i, x in enumerate(after)))
    return found


@pytest.mark.parametrize("name", ["llama 2", "metaspace, always", "unigram"])
def test_a_harm_is_no_improvement_under_a_tokenizer_that_marks_spaces(tmp_path, name):
    words = tokenizers.family(name)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        config = LlamaConfig(**tiny.shape(vocab_size=len(words)), tie_word_embeddings=False)
        network = LlamaForCausalLM(config).eval()
    tiny.write(tmp_path / "before", network, words)
    before = open_model(tiny.spec(tmp_path / "before"), Limits())
    was, was_apart = before.score(PAIRS, batch=8), nats_apart(before, network)

    # What was tuned prefers the marked tokens, and avoids those that really follow.
    with torch.no_grad():
        ids = [before.tokens.prompt(prompt) for prompt, _ in PAIRS]
        states = [network.model(torch.tensor([i])).last_hidden_state[0, -1] for i in ids]
        way = torch.stack(states).mean(0)
        way = 3 * way / way.norm() ** 2
        real = {before.tokens.pair(p, t).target[0] for p, t in PAIRS}
        marked = {before.tokens.continuation(t)[0] for _, t in PAIRS} - real
        assert marked, "this tokenizer marks no space"
        network.lm_head.weight[sorted(real)] -= way
        network.lm_head.weight[sorted(marked)] += way
    tiny.write(tmp_path / "after", network, words)
    after = open_model(tiny.spec(tmp_path / "after"), Limits())
    now, now_apart = after.score(PAIRS, batch=8), nats_apart(after, network)
    assert np.mean(now_apart) < np.mean(was_apart), "apart it would have been an improvement"

    flags = [1, 0] * (len(PAIRS) // 2)
    runs = [run(ZERO, flags, nats=was), *(run(FULL, flags, s, nats=now) for s in range(3))]
    found = by_strategy(verdicts_on(runs), measure="bits_per_byte")
    assert found["full"].verdict == "harmed"
