"""Small charts as SVG paths, drawn by the server: they need no script and print well."""

from collections.abc import Sequence

WIDTH, HEIGHT = 160, 36
_MARGIN = 3  # pixels that the line keeps from the edge


def line(values: Sequence[float]) -> str:
    """Return the points of a polyline for values in [0, 1], 1 at the top.

    Examples:
        >>> line([0.0, 1.0])
        '0.0,33.0 160.0,3.0'
    """
    spread = values if len(values) > 1 else [*values, *values]
    step = WIDTH / max(1, len(spread) - 1)
    return " ".join(f"{place * step:.1f},{level(each):.1f}" for place, each in enumerate(spread))


def level(value: float) -> float:
    """Return the height at which a value in [0, 1] is drawn, from the top."""
    return HEIGHT - _MARGIN - (HEIGHT - 2 * _MARGIN) * min(1.0, max(0.0, value))


def bars(counts: Sequence[int]) -> list[tuple[float, float, float, float]]:
    """Return x, y, width and height of one bar per count, the highest as high as the chart."""
    highest, slot = max([1, *counts]), WIDTH / max(1, len(counts))
    heights = [max(1.0, (HEIGHT - _MARGIN) * count / highest) for count in counts]
    return [
        (
            round(place * slot, 1),
            round(HEIGHT - height, 1),
            round(slot * 0.72, 1),
            round(height, 1),
        )
        for place, height in enumerate(heights)
    ]
