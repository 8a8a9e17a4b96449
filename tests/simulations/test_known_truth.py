"""Effects planted in the toy are found, and planted nulls are left alone."""

from collections import Counter

from tests.simulations.planted import MIXED, NULL, is_wrong, judged, task_effects

STUDIES = 10


def test_planted_effects_are_found_and_planted_nulls_left_alone(tmp_path):
    found: dict[str, Counter[str]] = {name: Counter() for name in MIXED}
    wrong = 0
    for number in range(STUDIES):
        effects = task_effects(judged(tmp_path, number, MIXED))
        assert {e.strategy for e in effects} == set(MIXED)
        for effect in effects:
            found[effect.strategy][effect.verdict] += 1
        wrong += any(is_wrong(e, MIXED[e.strategy]) for e in effects)
    assert wrong <= 2  # 5% of ten studies, and the luck of one more
    assert found["full"]["harmed"] >= 9
    assert found["lora"]["improved"] >= 9


def test_the_likelihood_of_gold_solutions_finds_what_is_planted_too(tmp_path):
    for truth in (MIXED, NULL):
        findings = judged(tmp_path / str(truth["full"]), 1000, truth)
        effects = {e.strategy: e for e in task_effects(findings, "bits_per_byte")}
        assert not any(is_wrong(e, truth[name]) for name, e in effects.items())
        assert (effects["full"].verdict == "harmed") == (truth["full"] < 0)
