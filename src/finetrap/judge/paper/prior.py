"""What is published about a model that nobody has measured yet: a prior, never a finding.

The rules are those of "The Fine-Tuning Trap" (arXiv 2606.06920), read in its abstract; beside them
stands what other work found against them. Numbers marked "reported" were seen second-hand only.
"""

from __future__ import annotations

from finetrap.findings import Advice, Contender
from finetrap.judge.paper.population import LARGE_FROM, size_of

PAPER = "arXiv 2606.06920"
SMALLEST_BELOW = 200_000_000
LARGEST = 1_500_000_000
"""The paper's models end at "1B"; Llama-3.2-1B has 1.24B parameters."""

CONTRARY = (
    "learning rate: with one tuned for each method, nine variants of LoRA, DoRA among them, come "
    "within 1 to 2% of each other (arXiv 2602.04998), and a tenfold lower rate alone took nearly "
    "all forgetting from full fine-tuning, off-task loss 33.6 to 1.5 points (arXiv 2603.14493)",
    "order of methods: on GSM8K, Qwen3-0.6B is reported to lose with every tuning, and less with "
    "full fine-tuning (54.1 to 48.1) than with LoRA (43.2 to 44.7)",
    "adapters are no safeguard: LoRA on GSM8K is reported to have wrecked Gemma-3-270M and "
    "SmolLM-135M, and supervised tuning on GSM8K to have cost Qwen2.5-0.5B 45.5 to 30.9 (arXiv "
    "2506.13404)",
    "forgetting: LoRA forgets less and learns less in some studies (arXiv 2405.09673), more under "
    "continued tuning in another (arXiv 2410.21228); 6% of replayed general data kept the other "
    "abilities of a 250M model (arXiv 2512.13706)",
    "noise: the paper's reported falls of SmolLM2-360M below zero-shot are within it, one setting "
    "is reported, and its zero-shot scores are far below those published elsewhere",
)
"""Published evidence that speaks against the paper's rules, with its sources."""


def published_advice(
    name: str, parameters: int | None = None, aligned: bool | None = None
) -> Advice:
    """Return the published advice for a model, marked as a prior; nothing was measured."""
    small = parameters is not None and parameters < LARGE_FROM
    few_shot = parameters is not None and parameters < SMALLEST_BELOW
    return Advice(
        model=name,
        task="",
        ship=Contender("lora"),
        runner_up=Contender("few-shot-5" if few_shot else "dora" if small or aligned else "full"),
        reasons=tuple(_rules(parameters, aligned)),
        open_questions=(f"everything about {name} on your task",),
        next_command=f"finetrap try {name} --train TRAIN.jsonl",
        grade="published",
        sources=(PAPER, *(f"counter-evidence: {one}" for one in CONTRARY)),
    )


def _rules(parameters: int | None, aligned: bool | None) -> list[str]:
    """Return the paper's rules that hold for a model of this size and kind."""
    rules = []
    if parameters is None:
        rules.append(f"its size is not known, and the rules of {PAPER} go by size")
    elif parameters > LARGEST:
        rules.append(
            f"{size_of(parameters)} parameters lie beyond the 135M to 1B that {PAPER} measured"
        )
    elif parameters < SMALLEST_BELOW // 2:
        rules.append(
            f"{size_of(parameters)} parameters lie below the 135M to 1B that {PAPER} measured"
        )
    if parameters is not None and parameters < LARGE_FROM:
        rules.append(f"avoid full fine-tuning below 500M parameters ({PAPER})")
    if parameters is not None and parameters < SMALLEST_BELOW:
        rules.append(f"on SmolLM2-135M five examples in the prompt beat full fine-tuning ({PAPER})")
    if aligned:
        rules.append(
            f"adapters by default for aligned models below 1B; LoRA beat full fine-tuning on "
            f"Qwen2.5-0.5B ({PAPER})"
        )
    elif aligned is None:
        rules.append("whether it is aligned is not known")
    rules.append(
        "LoRA on all layers, at about ten times the rate of full fine-tuning, matches it on small "
        "sets (Thinking Machines, LoRA Without Regret, 2025) and is cheaper to ship"
    )
    return rules
