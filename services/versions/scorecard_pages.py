"""A scorecard for people: rows of a table, and a self-contained HTML page with example images."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from audit.evaluation.scorecards import LabelledSet, Reliance, Scorecard
from audit.intervals import Estimate
from services.pictures import overlays
from services.versions.scoring import ServedClassifier

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;
color:#1c1c1c;background:#fff}
table{border-collapse:collapse;width:100%;margin:1rem 0}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ddd}
td.n{text-align:right;font-variant-numeric:tabular-nums}
.images{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:9rem}
img{width:100%;image-rendering:pixelated}figcaption{font-size:.85rem}
@media(prefers-color-scheme:dark){body{color:#eee;background:#161616}th,td{border-color:#444}}
"""


class Line(NamedTuple):
    """One measure as shown.

    Attributes:
        name: Of the measure.
        value: With its interval.
        note: What to read it beside.
    """

    name: str
    value: Estimate
    note: str = ""


def lines(card: Scorecard) -> list[Line]:
    """Return everything on a scorecard in the order of reading."""
    made = [Line("accuracy", card.accuracy), Line("worst class", card.worst_class)]
    if card.worst_group is not None:
        made.append(Line("worst group", card.worst_group))
    made += [Line(f"class {name}", value) for name, value in card.per_class.items()]
    made += [Line(f"group {name}", value) for name, value in card.per_group.items()]
    made.append(Line("calibration error", card.calibration_error, "lower is better"))
    if card.masked is not None:
        made.append(Line("accuracy, rest painted over", card.masked))
    if card.random_cue is not None:
        made.append(Line("random-cue accuracy", card.random_cue, "rest of any other"))
    if card.reversed_cue is not None:
        made.append(Line("reversed-cue accuracy", card.reversed_cue, "rest of another label"))
    made += [line for each in card.reliance for line in _reliance(each)]
    for found in card.sensitivities:
        name = found.definition
        made += [
            Line(f"core sensitivity ({name})", found.value, "in [-1, 1]"),
            Line(f"accuracy, rest noised ({name})", found.core_accuracy),
            Line(f"accuracy, region noised ({name})", found.spurious_accuracy),
        ]
    if card.part_reliance is not None:
        made.append(Line("reliance on a part", card.part_reliance, "outside the region"))
    if card.focus is not None:
        chance = f"chance {card.focus.recall_chance.value:.3f}"
        area = f"chance {card.focus.area.value:.3f}"
        made += [
            Line("Activation Recall", card.focus.activation_recall, chance),
            Line("activation precision", card.focus.activation_precision, area),
            Line("relevance mass", card.focus.relevance_mass, area),
            Line("pointing game", card.focus.pointing, area),
            Line("IoU", card.focus.iou),
            Line("heatmaps that show nothing", card.focus.silent),
        ]
    return made


def _reliance(found: Reliance) -> Iterator[Line]:
    """Yield what an intervention did."""
    name = found.intervention
    if found.flip_rate is not None:
        yield Line(f"flips, {name}", found.flip_rate, "of right answers")
    if found.directed_flip_rate is not None:
        yield Line(f"directed flips, {name}", found.directed_flip_rate, "to the donor's label")
    yield Line(f"probability shift, {name}", found.probability_shift, "lower is better")


def shown(value: Estimate) -> str:
    """Return an estimate as text."""
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


def page(
    card: Scorecard, rows: LabelledSet, served: ServedClassifier, *, examples: int = 12
) -> str:
    """Return a page that needs no other file.

    Args:
        card: What was measured.
        rows: The set it was measured on.
        served: The classifier, for the examples.
        examples: How many images to show: the most confident errors first.
    """
    body = "".join(
        f"<tr><td>{escape(line.name)}</td><td class=n>{shown(line.value)}</td>"
        f"<td>{escape(line.note)}</td><td class=n>{line.value.observations}</td></tr>"
        for line in lines(card)
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(card.model)} on {escape(card.dataset)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(card.model)} on {escape(card.dataset)}</h1>"
        f"<p>{card.observations} images. Every value with its {card.level:.0%} bootstrap interval "
        "over subjects; an image without one stands for itself. Shares of heatmaps mean little "
        "without their chance level; interventions are the evidence.</p>"
        "<table><thead><tr><th>measure<th>value<th>read beside<th>images</thead>"
        f"<tbody>{body}</tbody></table>"
        f"<h2>Examples</h2><div class=images>{_examples(rows, served, examples)}</div></html>"
    )


def _examples(rows: LabelledSet, served: ServedClassifier, count: int) -> str:
    """Return figures of the most confident errors, then of the least confident right answers."""
    probabilities = served.probabilities(rows.images)
    decided = probabilities.argmax(axis=1)
    surplus = probabilities.max(axis=1) * np.where(decided == rows.labels, -1.0, 1.0)
    chosen = np.argsort(-surplus)[:count]
    maps = served.heatmaps(rows.images[chosen], decided[chosen].astype(np.int64))
    return "".join(
        _figure(rows, int(row), int(decided[row]), float(probabilities[row].max()), heat)
        for row, heat in zip(chosen, maps, strict=True)
    )


def _figure(
    rows: LabelledSet, row: int, decided: int, probability: float, heat: Sequence[float]
) -> str:
    drawn = overlays.blend(rows.images[row], np.asarray(heat, np.float32))
    truth = escape(rows.classes[int(rows.labels[row])])
    answer = escape(rows.classes[decided])
    return (
        f'<figure><img src="{overlays.data_url(drawn)}" alt="heatmap of {answer}">'
        f"<figcaption>{answer} {probability:.2f}, is {truth}</figcaption></figure>"
    )
