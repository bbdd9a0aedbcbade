import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from mlops.config import Rule
from mlops.promotion import gate
from mlops.tracking import names

RULE = Rule()
WEAK = Rule(floors="trivial")
FLOOR = 14.0  # of propagation, the best classical fill


def _means(candidate=15.0, frame=12.0, ring=13.0, propagated=FLOOR, **extra):
    levels = {
        names.SUBJECT_CANDIDATE: candidate,
        names.SUBJECT_FRAME_MEAN: frame,
        names.SUBJECT_RING_MEAN: ring,
        names.SUBJECT_TELEA: 13.5,
        names.SUBJECT_DIFFUSED: 13.6,
        names.SUBJECT_PROPAGATED: propagated,
    }
    return {f"{subject}/{names.HOLE_PSNR}": level for subject, level in levels.items()} | extra


def _pairs(gains, other):
    """Pairs of a candidate that is better than another subject by these gains in dB per video."""
    return {f"v{i}": (other + gain, other) for i, gain in enumerate(gains)}


def _decide(means=None, gains=None, rule=RULE, above_floor=(1.0,), **evidence):
    """Decision on a candidate with these gains in dB per video over the champion, if there is one,
    and over the best classical fill.

    Without `gains` there is no champion.
    """
    pairs = {names.SUBJECT_PROPAGATED: _pairs(above_floor, FLOOR)}
    if gains is not None:
        pairs[names.SUBJECT_CHAMPION] = _pairs(gains, 15.0)
    champion = None if gains is None else "3"
    means = _means() if means is None else means
    return gate.decide(gate.Evidence(means=means, champion=champion, pairs=pairs, **evidence), rule)


@pytest.mark.parametrize(
    ("means", "promoted", "said"),
    [
        (_means(), True, "15.000 dB is above the 13.000 dB of trivial_ring_mean"),
        (_means(candidate=12.5), False, "12.500 dB is not above the 13.000 dB of trivial_ring"),
        (_means(candidate=12.5, frame=14, ring=11), False, "the 14.000 dB of trivial_frame_mean"),
        (_means(candidate=13.0), False, "13.000 dB is not above the 13.000 dB"),
        (_means(candidate=math.nan), False, "candidate/hole_psnr_db is nan"),
        (_means(ring=math.nan), False, "trivial_ring_mean/hole_psnr_db is nan"),
        (_means(**{"candidate/ssim": math.inf}), False, "candidate/ssim is inf"),
        ({}, False, "candidate/hole_psnr_db was not measured"),
    ],
)
def test_a_first_model_must_be_finite_and_beat_both_trivial_fills(means, promoted, said):
    decision = _decide(means)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons


@pytest.mark.parametrize(
    ("gains", "promoted", "said"),
    [
        # Many videos: the bound of the mean counts, not the mean.
        ([0.3] * 10, True, "+0.300 dB against the champion (version 3), mean over 10 videos"),
        ([-0.05] * 10, True, "with 95.0% confidence at least -0.050 dB, within the margin of -0.1"),
        ([-0.15] * 10, False, "at least -0.150 dB, not within the margin"),
        ([2.0, -2.0] * 10, False, "+0.000 dB against the champion (version 3), mean over 20"),
        ([3.0, -1.0] * 10, True, "+1.000 dB"),
        # Few: stricter.
        ([0.0], True, "fewer than the 10 of a bootstrap"),
        ([-0.01], False, "-0.010 dB against the champion (version 3), mean over 1 videos"),
        ([1.0, -0.2], False, "the worst is v1 with -0.200 dB"),
        ([1.0, -0.1], True, "the worst is v1 with -0.100 dB"),
        ([], False, "no video was scored for both"),
        ([math.nan, 0.5], False, "hole PSNR of video v0 is nan, of champion 15.0"),
        ([math.inf, 0.5], False, "hole PSNR of video v0 is inf"),
    ],
)
def test_a_later_model_must_not_be_worse_than_the_champion(gains, promoted, said):
    decision = _decide(gains=gains)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons


@pytest.mark.parametrize(
    ("above_floor", "promoted", "said"),
    [
        # Many videos: the lower bound of the mean must be above 0.
        (
            [0.3] * 10,
            True,
            "14.000 dB of floor_propagated, the best classical fill, +0.300 dB mean",
        ),
        ([0.3] * 10, True, "over 10 videos; with 95.0% confidence at least +0.300 dB, above 0"),
        ([0.0] * 10, False, "at least +0.000 dB, not above 0"),
        ([-0.01] * 10, False, "at least -0.010 dB, not above 0"),
        (
            [2.0, -1.9] * 10,
            False,
            "+0.050 dB mean over 20 videos; with 95.0% confidence at least -",
        ),
        ([3.0, -1.0] * 10, True, "+1.000 dB mean over 20 videos"),
        # Few: stricter.
        ([0.01], True, "+0.010 dB mean over 1 videos, fewer than the 10 of a bootstrap"),
        ([0.0], False, "+0.000 dB mean over 1 videos"),
        ([-0.01], False, "on average it must be higher"),
        (
            [1.0, -0.2],
            False,
            "no video be lower by more than 0.100 dB; the worst is v1 with -0.200",
        ),
        ([1.0, -0.1], True, "the worst is v1 with -0.100 dB"),
        ([], False, "no video was scored for both"),
        ([math.nan, 0.5], False, "hole PSNR of video v0 is nan, of floor_propagated 14.0"),
    ],
)
def test_a_model_must_be_above_the_best_classical_fill(above_floor, promoted, said):
    decision = _decide(above_floor=above_floor)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons
    assert _decide(above_floor=above_floor, gains=[0.0]).promote is promoted


def test_below_the_best_classical_fill_is_refused_with_the_numbers():
    decision = _decide(_means(candidate=13.8), above_floor=[-0.2])
    assert decision.reasons == (
        "hole PSNR 13.800 dB is not above the 14.000 dB of floor_propagated, the best classical "
        "fill, -0.200 dB mean over 1 videos, fewer than the 10 of a bootstrap: on average it must "
        "be higher, and on no video be lower by more than 0.100 dB; the worst is v0 with -0.200 dB",
    )
    assert not decision.promote


def test_the_best_fill_is_the_one_with_the_highest_mean():
    means = _means(ring=26.0, candidate=20.0)
    beside = gate.against_best_classical(means, {"trivial_ring_mean": {"v": (20.0, 26.0)}}, RULE)
    assert (beside.floor, beside.ours, beside.theirs) == ("trivial_ring_mean", 20.0, 26.0)
    assert not beside.holds


@pytest.mark.parametrize("lacking", names.CLASSICAL_SUBJECTS)
def test_an_evaluation_that_lacks_a_classical_fill_promotes_nothing(lacking):
    means = _means()
    del means[f"{lacking}/{names.HOLE_PSNR}"]
    decision = _decide(means)
    assert not decision.promote
    assert "not every classical fill was scored: evaluate again" in decision.reasons


@pytest.mark.parametrize("subject", names.CLASSICAL_SUBJECTS)
def test_a_fill_psnr_of_nan_promotes_nothing(subject):
    key = f"{subject}/{names.HOLE_PSNR}"
    decision = _decide({**_means(), key: math.nan})
    assert not decision.promote
    assert f"{key} is nan" in decision.reasons[0]


@pytest.mark.parametrize(("candidate", "promoted"), [(13.2, True), (12.5, False)])
def test_weak_floors_require_only_the_mean_fills_and_are_recorded(candidate, promoted):
    means = _means(candidate=candidate)
    decision = _decide(means, rule=WEAK, above_floor=[candidate - FLOOR])
    assert decision.promote is promoted
    assert decision.reasons[-1] == (
        "judged by weak floors only: mean fills; not by the best classical fill"
    )
    assert not _decide(means, above_floor=[candidate - FLOOR]).promote
    assert gate.WEAK_FLOORS not in _decide().reasons


def test_a_video_without_a_hole_is_left_out_of_the_comparison():
    pairs = {"a": (math.nan, math.nan), "b": (15.0, 14.0)}
    evidence = gate.Evidence(
        means=_means(),
        champion="3",
        pairs={names.SUBJECT_CHAMPION: pairs, names.SUBJECT_PROPAGATED: pairs},
    )
    decision = gate.decide(evidence, RULE)
    assert decision.promote
    assert "mean over 1 videos" in decision.reasons[-1]


@pytest.mark.parametrize(
    ("rule", "promoted", "said"),
    [
        ({"floor_db": 15.5}, False, "15.000 dB is not above the 15.500 dB of the floor"),
        ({"floor_db": 14.5}, True, "15.000 dB is above the 14.500 dB of the floor"),
        ({"max_seconds_per_frame": 0.1}, False, "time per frame 0.2 s is not within the budget"),
        ({"max_seconds_per_frame": 0.3}, True, "time per frame 0.2 s is within the budget of 0.3"),
        ({"max_megabytes": 10}, False, "size 66.2 MB is not within the budget of 10 MB"),
        ({"max_megabytes": 70}, True, "size 66.2 MB is within the budget of 70 MB"),
    ],
)
def test_floor_and_budgets_of_a_rule(rule, promoted, said):
    seconds = {f"{names.SUBJECT_CANDIDATE}/{names.SECONDS_PER_FRAME}": 0.2}
    decision = _decide(_means(**seconds), rule=Rule(**rule), megabytes=66.2)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons


def test_a_budget_on_an_unmeasured_value_is_refused():
    assert not _decide(rule=Rule(max_megabytes=1)).promote


def test_a_refusal_lists_only_the_failed_checks():
    assert _decide(_means(candidate=13.0)).reasons == (
        "hole PSNR 13.000 dB is not above the 13.000 dB of trivial_ring_mean",
    )


def test_bounds_match_scipys_bootstrap():
    differences = np.random.default_rng(7).normal(0.1, 0.5, 40)
    pairs = {str(i): (20 + one, 20.0) for i, one in enumerate(differences)}
    found = gate.gain(pairs, RULE)
    theirs = bootstrap(
        (differences,), np.mean, confidence_level=0.9, method="percentile", n_resamples=10_000
    ).confidence_interval
    noise = 0.01  # of 10,000 draws; the bounds are 0.26 dB apart
    assert found.low == pytest.approx(theirs.low, abs=noise)
    assert found.high == pytest.approx(theirs.high, abs=noise)
    assert found.mean == pytest.approx(differences.mean())
    assert gate.gain(pairs, RULE) == found  # the seed is fixed


@settings(max_examples=50)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0, 2))
def test_a_uniform_gain_never_causes_a_refusal(gains, more):
    """Adding the same gain to every video never turns a promotion into a refusal."""
    if _decide(gains=gains).promote:
        assert _decide(gains=[one + more for one in gains]).promote


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"margin_db": -1}, "--margin-db is -1: give 0 to 100"),
        ({"confidence": 1.0}, "--confidence is 1.0: give 0.5 to 0.999999"),
        ({"min_videos": 1}, "--min-videos is 1: give 2 to 1,000,000"),
    ],
)
def test_an_invalid_rule_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        Rule(**wrong)


def test_different_rules_have_different_digests():
    assert gate.digest(Rule(margin_db=0.1)) != gate.digest(Rule(margin_db=0.2))
    assert gate.digest(Rule(margin_db=0.1)) == gate.digest(RULE)


def test_digests_and_stored_thresholds_are_stable_across_releases():
    assert gate.digest(RULE).startswith("98d1473a611d8fb8")
    changed = Rule(min_videos=3, max_megabytes=5.0)
    assert gate.digest(changed).startswith("e7076b4758094b27")
    params = {name: str(value) for name, value in gate.stored(changed).items()}
    assert {"least_videos", "most_megabytes"} <= params.keys()
    assert gate.rule_from(params) == changed
    assert gate.digest(WEAK) != gate.digest(RULE)
