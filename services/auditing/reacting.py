"""What one event means to the detectors: measured, watched, its alarms written down."""

import logging
from collections.abc import Sequence

from audit import canonical, localisation, records
from audit.errors import RegionError
from audit.store import projections, queries
from audit.store.ledger import Batch
from audit.watch.watching import DRILL, Watching

LOG = logging.getLogger("rightly.auditor")


def react(batch: Batch, seq: int, event: records.Event, watching: Watching) -> None:
    """Let the detectors take one event, and write down what becomes of their alarms."""
    moved: Sequence[records.AlarmEvent] = ()
    match event:
        case records.PredictionRecord():
            moved = watching.answered(event)
        case records.RegionEvent():
            measure_late(batch, seq, event, watching)
        case records.ProbeEvent():
            record = queries.answer(batch.connection, event.prediction_id)
            if record is not None and event.intervention == "all":
                moved = watching.probed(record, event.source, event.measures)
        case records.AcknowledgementEvent():
            moved = watching.acknowledged(event)
        case records.RequestEvent():
            moved = watching.requested(event)
        case records.ActionEvent():
            moved = _act(event, watching)
        case _:
            pass
    for each in moved:
        batch.append(each)


def measure_late(batch: Batch, seq: int, event: records.RegionEvent, watching: Watching) -> None:
    """Measure an answer against a region that arrived after it."""
    record = queries.answer(batch.connection, event.prediction_id)
    if record is None:
        return
    heatmap, region = canonical.shares(record.heatmap), canonical.shares(event.region.shares)
    try:
        found = localisation.measure(heatmap, region)
    except RegionError as error:
        LOG.warning("a late region of %s cannot be used: %s", event.prediction_id, error)
        return
    values = localisation.measures_of(found)
    source = event.region.source
    # The promise of the detectors counts on two sources of a record at most: a reviewer, and one.
    others = queries.region_sources(batch.connection, event.prediction_id) - {source, "reviewer"}
    corrected = projections.add_measures(
        batch.connection, seq, event.prediction_id, source, values
    )
    # A corrected region changes the charts; what a detector has seen it has seen. One drawn from
    # the heatmap would agree with it.
    feeds = event.stratum in {"all", "random"} and event.basis != "heatmap"
    feeds = feeds and (source == "reviewer" or not others)
    if feeds and not corrected:
        for each in watching.located(record, source, values):
            batch.append(each)


def _act(event: records.ActionEvent, watching: Watching) -> Sequence[records.AlarmEvent]:
    details, actor, now = event.details, event.actor, event.event_time
    model = details.get("model", "")
    about = {
        "promotion": watching.replaced,
        "rollback": watching.replaced,
        "canary": watching.tried,
        "withdrawal": watching.withdrawn,
    }.get(event.action)
    if about is not None and details.get("version", "").isdecimal():
        return about(model, int(details["version"]), actor=actor, now=now)
    if event.action == "config_change" and details.get("what") in {"segmenter", "template"}:
        return watching.resourced(model, details["what"], actor=actor, now=now)
    if event.action == "drill":
        return watching.restarted(model + DRILL, actor=actor, now=now)
    return ()
