import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from mlops import gate, names

RULE = gate.Rule()


def _means(candidate=15.0, frame=12.0, ring=13.0, **extra):
    return {
        f"{names.SUBJECT_CANDIDATE}/{names.HOLE_PSNR}": candidate,
        f"{names.SUBJECT_FRAME_MEAN}/{names.HOLE_PSNR}": frame,
        f"{names.SUBJECT_RING_MEAN}/{names.HOLE_PSNR}": ring,
        **extra,
    }


def _decide(means=None, gains=None, rule=RULE, **evidence):
    """Of a candidate that is by so many dB better than the champion on each video, if there is one.

    Without `gains` there is no champion.
    """
    pairs = {f"v{i}": (15.0 + gain, 15.0) for i, gain in enumerate(gains or ())}
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
def test_first_model_must_be_finite_and_beat_both_trivial_fills(means, promoted, said):
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
        ([math.nan, 0.5], False, "hole PSNR of video v0 is nan, the champion's 15.0"),
        ([math.inf, 0.5], False, "hole PSNR of video v0 is inf"),
    ],
)
def test_a_later_model_must_not_be_worse_than_the_champion(gains, promoted, said):
    decision = _decide(gains=gains)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons


def test_a_video_without_a_hole_says_nothing_about_either():
    evidence = gate.Evidence(
        means=_means(), champion="3", pairs={"a": (math.nan, math.nan), "b": (15.0, 15.0)}
    )
    decision = gate.decide(evidence, RULE)
    assert decision.promote
    assert "mean over 1 videos" in decision.reasons[-1]


@pytest.mark.parametrize(
    ("rule", "promoted", "said"),
    [
        ({"floor_db": 15.5}, False, "15.000 dB is not above the 15.500 dB of the floor"),
        ({"floor_db": 14.5}, True, "15.000 dB is above the 14.500 dB of the floor"),
        ({"most_seconds_per_frame": 0.1}, False, "time per frame 0.2 s is not within the budget"),
        ({"most_seconds_per_frame": 0.3}, True, "time per frame 0.2 s is within the budget of 0.3"),
        ({"most_megabytes": 10}, False, "size 66.2 MB is not within the budget of 10 MB"),
        ({"most_megabytes": 70}, True, "size 66.2 MB is within the budget of 70 MB"),
    ],
)
def test_floor_and_budgets(rule, promoted, said):
    seconds = {f"{names.SUBJECT_CANDIDATE}/{names.SECONDS_PER_FRAME}": 0.2}
    decision = _decide(_means(**seconds), rule=gate.Rule(**rule), megabytes=66.2)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons


def test_a_budget_of_what_nobody_measured_is_not_kept():
    assert not _decide(rule=gate.Rule(most_megabytes=1)).promote


def test_a_refusal_says_only_what_spoke_against():
    assert _decide(_means(candidate=12.5)).reasons == (
        "hole PSNR 12.500 dB is not above the 13.000 dB of trivial_ring_mean",
    )


def test_bounds_are_those_of_scipys_bootstrap():
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
def test_who_is_better_everywhere_is_not_refused_for_it(gains, more):
    """Adding the same gain to every video never turns a promotion into a refusal."""
    if _decide(gains=gains).promote:
        assert _decide(gains=[one + more for one in gains]).promote


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"margin_db": -1}, "--margin-db is -1: give 0 or more"),
        ({"confidence": 1.0}, "--confidence is 1.0: give 0.5 to less than 1"),
        ({"least_videos": 1}, "at least 2 and 1000"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        gate.Rule(**wrong)


def test_rules_that_differ_have_other_digests():
    assert gate.Rule(margin_db=0.1).digest() != gate.Rule(margin_db=0.2).digest()
    assert gate.Rule(margin_db=0.1).digest() == RULE.digest()
