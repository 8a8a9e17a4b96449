from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from finetrap.findings import Claim, Findings
from finetrap.judge.paper.claims import hold_claims
from finetrap.judge.paper.cliff import size_threshold
from finetrap.judge.paper.population import aligned, sized_models
from finetrap.judge.tables import write_csv
from finetrap.judge.verdicts import verdicts_on as verdicts
from finetrap.records import Judge, ModelSpec, Run
from finetrap.references import Format, PromptSpec
from tests.builders.runs import (
    DORA,
    FULL,
    LORA,
    REWIND,
    SHOTS,
    ZERO,
    failed,
    run,
    runs,
    trial,
)

MARGIN = Judge(margin=4)


def model(name: str, parameters: int | None, prompt: Format = "plain") -> ModelSpec:
    return ModelSpec(name, name, f"r-{name}", prompt=PromptSpec(prompt), parameters=parameters)


SMALL, LARGE = model("small-135m", 135_000_000), model("qwen2.5-0.5b", 494_032_768)
TINY, LITTLE, BIGGER, BIGGEST = (
    model(name, size)
    for name, size in (
        ("a", 100_000),
        ("b", 300_000),
        ("c", 1_000_000),
        ("d", 3_000_000),
    )
)


def judged(measured: list[Run]) -> dict[tuple[int, str], Claim]:
    claims = hold_claims(verdicts(measured, MARGIN), measured)
    return {(claim.id, claim.setting): claim for claim in claims}


def fixed(measured: list[Run], number: int) -> Claim:
    return judged(measured)[number, "fixed"]


def test_there_are_eight_claims_at_two_settings_whatever_a_study_holds() -> None:
    for measured in ([], runs((FULL, -0.2))):
        claims = hold_claims(verdicts(measured), measured)
        assert [(c.id, c.setting) for c in claims] == [
            (i, s) for i in range(1, 9) for s in ("fixed", "tuned")
        ]
    assert {c.verdict for c in hold_claims(Findings((), ()), [])} == {"not tested"}


def test_harm_below_300m_supports_the_first_claim_and_none_above_the_second() -> None:
    measured = runs((FULL, -0.15), model=SMALL) + runs((FULL, 0.15), model=LARGE, seed=1)
    assert fixed(measured, 1).verdict == "supported"
    assert fixed(measured, 2).verdict == "supported"
    assert fixed(measured, 1).statement.startswith("full fine-tuning leaves models under 300M")
    assert "small-135m" in fixed(measured, 1).evidence
    assert "qwen" not in fixed(measured, 1).evidence.split("note:")[0]


def test_one_model_that_is_shown_otherwise_contradicts() -> None:
    measured = runs((FULL, -0.15), model=SMALL)
    measured += runs((FULL, 0.1), model=model("other-200m", 200_000_000), seed=1)
    assert fixed(measured, 1).verdict == "contradicted"


def test_a_bare_difference_supports_nothing() -> None:
    measured = runs((FULL, -0.04), (LORA, 0.0), (DORA, 0.03), n=120, model=SMALL)
    assert fixed(measured, 1).verdict == "inconclusive"
    assert fixed(measured, 3).verdict == "inconclusive"
    assert "inconclusive" in fixed(measured, 1).evidence


def test_claims_on_two_arms_compare_these_arms_and_not_their_verdicts() -> None:
    # Each is far above the untouched model, so both verdicts are "improved".
    chat = model("x-0.5b-instruct", 500_000_000)
    measured = runs((FULL, 0.15), (LORA, 0.3), n=800, model=chat)
    assert fixed(measured, 6).verdict == "supported"
    assert "lora at 3e-4 against full at 3e-4" in fixed(measured, 6).evidence
    turned = runs((FULL, 0.3), (LORA, 0.15), n=800, model=chat)
    assert fixed(turned, 6).verdict == "contradicted"


def test_equivalence_is_supported_by_equality_and_contradicted_beyond_the_margin_only() -> None:
    def claim(change: float, n: int) -> Claim:
        return fixed(runs((LORA, 0.1), (DORA, 0.1 + change), n=n, model=SMALL), 3)

    assert claim(0.0, 3000).verdict == "supported"
    assert claim(0.15, 1000).verdict == "contradicted"
    near = claim(0.05, 500)  # different, and not shown to be by more than the margin of 4
    assert near.verdict == "inconclusive"
    assert "worse" in near.evidence


def test_overall_is_over_all_problems_of_all_tasks() -> None:
    measured = runs((LORA, 0.1), (DORA, 0.2), n=1500, model=SMALL, task="gsm8k")
    measured += runs((LORA, 0.2), (DORA, 0.1), n=1500, model=SMALL, task="orca_math", seed=1)
    assert fixed(measured, 3).verdict == "supported"
    assert "gsm8k, orca_math" in fixed(measured, 3).evidence
    assert fixed(measured, 4).verdict == "supported"
    assert fixed(measured, 5).verdict == "supported"
    assert "DoRA 15.2, LoRA 14.8" in fixed(measured, 5).evidence


def test_a_task_the_study_lacks_is_named_and_no_other_stands_in() -> None:
    claim = fixed(runs((LORA, 0.1), (DORA, 0.3)), 4)
    assert (claim.verdict, claim.evidence) == ("not tested", "not tested: needs gsm8k")


def test_five_shot_is_set_against_full_on_the_smallest_model_seed_by_seed() -> None:
    large = runs((SHOTS, -0.2), (FULL, 0.2), model=LARGE)
    measured = [*large, *runs((SHOTS, 0.1), (FULL, -0.1), model=SMALL, seed=1)]
    assert fixed(measured, 7).verdict == "supported"
    assert "qwen" not in fixed(measured, 7).evidence
    assert fixed(large, 7).evidence.startswith("not tested: needs a smallest model")
    three = replace(SHOTS, name="few-shot-3", shots=3)
    assert "needs 5-shot" in fixed(runs((three, 0.1), (FULL, 0.0), model=SMALL), 7).evidence


def test_a_prompt_with_one_seed_meets_every_seed_of_a_trained_arm() -> None:
    rng = np.random.default_rng(0)
    flags = rng.random(300) < 0.5
    lost = [flags & (rng.random(300) < kept) for kept in (1.0, 0.6, 0.6)]
    measured = [run(ZERO, flags, model=SMALL), run(SHOTS, flags, 0, model=SMALL)]
    measured += [run(FULL, f, s, model=SMALL) for s, f in enumerate(lost)]
    mean = 100 * (flags.mean() - np.mean(lost))
    assert f"{mean:+.1f} points" in fixed(measured, 7).evidence


def test_forgetting_is_compared_on_each_probe() -> None:
    some = {"school": {"full": -0.2}, "boats": {"full": 0.0, "lora": 0.0}}
    claim = fixed(runs((FULL, 0.1), (LORA, 0.1), probes=some, model=SMALL), 8)
    assert claim.verdict == "supported"
    assert "on school" in claim.evidence
    assert "boats" in claim.evidence
    mixed = {"school": {"full": -0.2}, "boats": {"lora": -0.2}}
    assert (
        fixed(runs((FULL, 0.1), (LORA, 0.1), probes=mixed, model=SMALL), 8).verdict
        == "inconclusive"
    )
    worse = {"school": {"lora": -0.2}}
    assert (
        fixed(runs((FULL, 0.1), (LORA, 0.1), probes=worse, model=SMALL), 8).verdict
        == "contradicted"
    )
    assert "needs a probe" in fixed(runs((FULL, 0.1), (LORA, 0.1), model=SMALL), 8).evidence


def test_rewound_strategies_are_not_what_the_paper_measured() -> None:
    assert "needs full" in fixed(runs((REWIND, -0.2), model=SMALL), 1).evidence


def test_without_a_search_nothing_is_tuned() -> None:
    claim = judged(runs((FULL, -0.2), model=SMALL))[1, "tuned"]
    assert claim.verdict == "not tested"
    assert claim.evidence == "not tested: no search chose a learning rate of full fine-tuning"


def test_each_setting_is_judged_at_its_own_rate() -> None:
    low = replace(FULL, learning_rate=1e-5)
    measured = runs((FULL, -0.2), (low, 0.1), model=SMALL)
    measured += [trial(FULL, 1e-5, bits=1, model=SMALL), trial(FULL, 3e-4, bits=3, model=SMALL)]
    found = judged(measured)
    assert found[1, "fixed"].verdict == "supported"
    assert found[1, "tuned"].verdict == "contradicted"
    assert "full at 1e-5" in found[1, "tuned"].evidence


def test_of_several_fixed_rates_the_shared_one_counts() -> None:
    low = replace(FULL, learning_rate=3e-5)
    claim = fixed(runs((FULL, -0.2), (low, 0.2), (LORA, 0.0), model=SMALL), 1)
    assert claim.verdict == "supported"
    assert "3e-05" not in claim.evidence


def test_miniature_sizes_get_an_analogue_that_says_so() -> None:
    measured = runs((FULL, -0.2), model=TINY) + runs((FULL, 0.1), model=BIGGEST, seed=1)
    below, above = fixed(measured, 1), fixed(measured, 2)
    assert (below.verdict, above.verdict) == ("supported", "supported")
    for claim in (below, above):
        assert claim.analogue
        assert "300M" not in claim.statement
        assert "note:" not in claim.evidence
    assert "(a 0.1M)" in below.statement
    assert "needs" in fixed(runs((FULL, -0.2), model=TINY), 1).evidence


def test_a_miniature_is_left_out_where_real_models_are_tested() -> None:
    measured = runs((FULL, -0.2), model=SMALL) + runs((FULL, 0.2), model=TINY, seed=1)
    assert fixed(measured, 1).verdict == "supported"


def test_a_diverged_arm_is_said_and_nothing_is_supported_without_it() -> None:
    other = model("other-200m", 200_000_000)
    measured = [*runs((FULL, -0.2), model=SMALL), run(ZERO, [1, 0] * 300, model=other)]
    measured += [failed(FULL, s, model=other) for s in range(3)]
    claim = fixed(measured, 1)
    assert claim.verdict == "inconclusive"
    assert (
        "other-200m, full at 3e-4 against zero-shot on market: full has no answers (diverged)"
        in (claim.evidence)
    )


def test_a_model_at_the_floor_shows_nothing() -> None:
    measured = [run(ZERO, [1] * 3 + [0] * 997, model=LARGE)]
    measured += [run(FULL, [0] * 1000, s, model=LARGE) for s in range(3)]
    claim = fixed(measured, 2)
    assert claim.verdict == "inconclusive"
    assert "at the floor" in claim.evidence


def test_a_task_at_the_floor_does_not_dilute_the_others() -> None:
    measured = runs((FULL, -0.06), n=400, model=SMALL)
    alone = fixed(measured, 1).evidence
    measured += [run(ZERO, [0] * 4000, model=SMALL, task="hard")]
    measured += [run(FULL, [0] * 4000, s, model=SMALL, task="hard") for s in range(3)]
    assert fixed(measured, 1).evidence == alone


def test_unknown_sizes_are_said_and_measured_ones_count() -> None:
    unknown = model("mystery", None)
    claim = fixed(runs((FULL, -0.2), model=unknown), 1)
    assert claim.evidence.endswith("(parameters unknown: mystery)")
    measured = runs((FULL, -0.2), model=unknown)
    measured[0] = replace(measured[0], costs=replace(measured[0].costs, parameters=150_000_000))
    assert sized_models(measured)[0].parameters == 150_000_000
    assert fixed(measured, 1).verdict == "supported"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (model("gemma-3-270m-it", 1), True),
        (model("SmolLM2-135M-Instruct", 1), True),
        (model("mini", 1, "chat"), True),
        (model("favourite-1b", 1), False),
        (model("qwen2.5-0.5b", 1), False),
    ],
)
def test_a_chat_prompt_or_a_name_says_that_a_model_is_aligned(
    spec: ModelSpec, expected: bool
) -> None:
    assert aligned(spec) is expected


def sized(*changes: tuple[ModelSpec, float]) -> list[Run]:
    return [
        each
        for place, (spec, change) in enumerate(changes)
        for each in runs((FULL, change), n=900, model=spec, seed=place)
    ]


def test_the_cliff_lies_between_the_last_harmed_and_the_first_unharmed_size() -> None:
    measured = sized((TINY, -0.2), (LITTLE, -0.15), (BIGGER, 0.1), (BIGGEST, 0.2))
    found = size_threshold(verdicts(measured, MARGIN), measured, "fixed")
    assert (found.low, found.high) == (300_000, 1_000_000)
    assert found.middle == pytest.approx(547_723, rel=1e-5)
    assert found.harmed == ("a", "b")
    assert "analogue" in found.reason
    tuned = size_threshold(verdicts(measured, MARGIN), measured, "tuned")
    assert (tuned.low, tuned.high) == (None, None)
    assert "search" in tuned.reason


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ((-0.2, -0.2), "no size is shown unharmed"),
        ((0.2, 0.2), "no size is shown harmed"),
        ((0.2, -0.2), "not monotone"),
    ],
)
def test_a_cliff_is_undetermined_where_sizes_do_not_part_harm(
    changes: tuple[float, float], why: str
) -> None:
    measured = sized(*zip((TINY, BIGGEST), changes, strict=True))
    found = size_threshold(verdicts(measured, MARGIN), measured, "fixed")
    assert (found.low, found.high, found.middle) == (None, None, None)
    assert why in found.reason


def test_equal_arms_rarely_support_or_contradict_a_direction() -> None:
    wrong = 0
    for number in range(40):
        measured = runs((LORA, 0.1), (FULL, 0.1), n=200, sd=0.02, seed=number, model=SMALL)
        spec = replace(SMALL, name="small-instruct")
        measured = [replace(r, cell=replace(r.cell, model=spec)) for r in measured]
        wrong += fixed(measured, 6).verdict == "supported"
    assert wrong <= 3


def test_claims_are_a_table(tmp_path) -> None:
    measured = runs((FULL, -0.2), (LORA, 0.1), model=SMALL)
    claims = hold_claims(verdicts(measured), measured)
    write_csv(tmp_path / "claims.csv", Claim, claims)
    rows = list(csv.DictReader((tmp_path / "claims.csv").open(encoding="utf-8")))
    assert list(rows[0]) == ["id", "statement", "setting", "verdict", "evidence", "analogue"]
    assert [row["evidence"] for row in rows] == [claim.evidence for claim in claims]
    assert (tmp_path / "claims.csv").read_text(encoding="utf-8").isascii()
