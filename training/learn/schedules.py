"""Learning rate and EMA decay, as pure functions of clips seen."""


def learning_rate(base: float, clips: int, decay_every_clips: int, decays: int) -> float:
    """Step decay by 10: `base * 0.1 ** min(clips // decay_every_clips, decays)`.

    The official code divides by 10 every 150,000 iterations of 8 clips and stops after two decays.

    Args:
        base: learning rate at the start.
        clips: clips seen by the generator so far.
        decay_every_clips: clips between decays; 0 = never.
        decays: maximum number of decays.
    """
    if decay_every_clips == 0:
        return base
    return float(base * 0.1 ** min(clips // decay_every_clips, decays))


def ema_decay(half_life_clips: float, batch_clips: int) -> float:
    """Share of the old average that one iteration keeps: 0.5 ** (batch / half-life).

    Args:
        half_life_clips: clips after which an old weight counts half; 0 = no averaging.
        batch_clips: clips of one iteration (the global batch).
    """
    return 0.0 if half_life_clips == 0 else float(0.5 ** (batch_clips / half_life_clips))
