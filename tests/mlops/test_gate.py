import math

import pytest

from mlops import gate, names

RULE = gate.Rule(margin_db=0.1)


def _means(candidate=15.0, frame=12.0, ring=13.0, **extra):
    return {
        f"{names.SUBJECT_CANDIDATE}/{names.HOLE_PSNR}": candidate,
        f"{names.SUBJECT_FRAME_MEAN}/{names.HOLE_PSNR}": frame,
        f"{names.SUBJECT_RING_MEAN}/{names.HOLE_PSNR}": ring,
        **extra,
    }


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
    decision = gate.decide(gate.Evidence(means=means, champion=None), RULE)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons


@pytest.mark.parametrize(
    ("pairs", "promoted", "said"),
    [
        (((15.0, 14.0), (16.0, 16.5)), True, "+0.250 dB against the champion (version 3) over 2"),
        (((14.95, 15.0),), True, "-0.050 dB against the champion (version 3) over 1"),
        (((14.8, 15.0),), False, "-0.200 dB against the champion (version 3) over 1"),
        (((14.8, 15.0), (math.nan, 15.0)), False, "over 1 clips"),
        ((), False, "0 clips were scored for both"),
    ],
)
def test_a_later_model_must_not_be_worse_than_the_champion(pairs, promoted, said):
    evidence = gate.Evidence(means=_means(), champion="3", hole_pairs=pairs)
    decision = gate.decide(evidence, RULE)
    assert decision.promote is promoted
    assert any(said in reason for reason in decision.reasons), decision.reasons


def test_a_refusal_says_only_what_spoke_against():
    decision = gate.decide(gate.Evidence(means=_means(candidate=12.5), champion=None), RULE)
    assert decision.reasons == (
        "hole PSNR 12.500 dB is not above the 13.000 dB of trivial_ring_mean",
    )


def test_rules_that_differ_have_other_digests():
    assert gate.Rule(margin_db=0.1).digest() != gate.Rule(margin_db=0.2).digest()
    assert gate.Rule(margin_db=0.1).digest() == RULE.digest()
