"""What reliance on a part is when there is none: the bound that every version is watched against.

A version that has learnt a shortcut shows it on its own validation images as well, where the
shortcut is. Its own reference would call that normal for ever. So no reference is taken to be
worse than what networks that never saw the cue showed.
"""

from audit.detectors.reference import Reference

# The measure that is watched: how well one part alone carries an answer into other images.
PART_RELIANCE = "part_reliance"
# Of networks that never saw the cue, or were cured of it (benchmarks/reliance.py, decision 0018),
# no mean was higher; the deviation is that over the images of the highest of them.
HEALTHY = Reference(mean=0.20, deviation=0.21, observations=1000)


def bounded(measure: str, known: Reference | None) -> Reference | None:
    """Return what a series is compared with: its own reference, or the bound if that is less.

    Args:
        measure: What is watched; only reliance on a part is bounded.
        known: The version's own reference; None where its card has none.
    """
    if measure != PART_RELIANCE:
        return known
    return HEALTHY if known is None or known.mean > HEALTHY.mean else known
