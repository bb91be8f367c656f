"""What an event of the trail says, in a sentence."""

from collections.abc import Callable, Mapping
from typing import Any

from audit import records
from audit.comparisons import ComparisonRecord
from audit.decided import DecisionEvent
from audit.suspicions import SuspicionEvent
from services.console import layout

# Kind → what people call it.
KINDS: Mapping[str, str] = {
    "prediction": "Answer",
    "label": "Label",
    "region": "Region",
    "review": "Review",
    "reading_request": "Second reading",
    "probe": "Probe",
    "comparison": "Candidate on trial",
    "suspicion": "Suspected shortcuts",
    "alarm": "Alarm",
    "acknowledgement": "Acknowledgement",
    "decision": "Policy",
    "retraining_request": "Retraining asked for",
    "action": "Action",
    "erasure_request": "Erasure asked for",
    "erasure": "Erasure",
}
_OF_PROBES = ("part_reliance", "flip", "directed_flip", "probability_shift")


def sentence(event: records.Event | None) -> str:
    """Return the event in words; says so where its content was erased."""
    if event is None:
        return "The content was erased; its place in the chain stays."
    return _SAID[type(event)](event)


def actor(event: records.Event | None) -> str:
    """Return who did it; "" where nobody in particular did."""
    return str(getattr(event, "actor", "") or "")


def _prediction(event: records.PredictionRecord) -> str:
    said = f"{event.model.name} version {event.model.version} says {event.decided.label}"
    drill = ", in a drill" if event.stream != "live" else ""
    return f"{said}, {event.decided.probability:.1%} sure{drill}"


def _region(event: records.RegionEvent) -> str:
    basis = f", taken from the {event.basis}" if event.basis else ""
    return f"covers {event.region.area:.1%} of the image, by the {event.region.source}{basis}"


def _review(event: records.ReviewEvent) -> str:
    blind = ", before the answer was shown" if event.blind else ""
    label = f", it is {event.label}" if event.label else ""
    note = f": {event.note}" if event.note else ""
    return f"{event.verdict.replace('-', ' ')}{label}{blind}{note}"


def _probe(event: records.ProbeEvent) -> str:
    shown = [(name, event.measures[name]) for name in _OF_PROBES if name in event.measures]
    named = ", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in shown)
    how = "every way" if event.intervention == "all" else event.intervention
    return f"what lies outside the {event.source}'s region changed, {how}: {named}"


def _alarm(event: records.AlarmEvent) -> str:
    measure = layout.MEASURES.get(event.measure, event.measure)
    whom = f" of class {event.class_label}" if event.class_label else ""
    about = f"{event.model} version {event.version}, {measure}{whom}, {event.side} side"
    return f"{about}: {event.state}{f', {event.reason}' if event.reason else ''}"


def _request(event: records.RequestEvent) -> str:
    return f"of {event.model}, by {event.origin}: {event.reason}"


def _action(event: records.ActionEvent) -> str:
    details = ", ".join(f"{name} {value}" for name, value in event.details.items() if value)
    return f"{event.action.replace('_', ' ')}{f': {details}' if details else ''}"


def _comparison(event: ComparisonRecord) -> str:
    whose = f"{event.model} version {event.version} beside version {event.champion}"
    said = event.failure or f"{event.class_label}, {event.confidence or 0:.1%} sure"
    alike = {True: ", as the champion", False: ", the champion otherwise", None: ""}[event.agrees]
    return f"{event.phase}: {whose} says {said}{alike}"


def _suspicion(event: SuspicionEvent) -> str:
    groups = "1 group" if len(event.found) == 1 else f"{len(event.found)} groups"
    of = f"{event.answers} heatmaps of {event.model} version {event.version}"
    return f"{groups} among {of}, class {event.class_label}"


def _decision(event: DecisionEvent) -> str:
    made = "asks for a retraining" if event.retrain else "asks for none"
    return f"{event.model}: {made}: {'; '.join(str(each) for each in event.reasons)}"


def _erasure(event: records.ErasureEvent) -> str:
    gone = f"{len(event.sequences)} contents and {len(event.images)} images destroyed"
    return f"{gone}, by {event.reason}"


_SAID: Mapping[type, Callable[[Any], str]] = {
    records.PredictionRecord: _prediction,
    records.LabelEvent: lambda event: f"it is {event.label}",
    records.RegionEvent: _region,
    records.ReviewEvent: _review,
    records.ReadingRequest: lambda event: event.reason or "another person is to judge",
    records.ProbeEvent: _probe,
    ComparisonRecord: _comparison,
    SuspicionEvent: _suspicion,
    DecisionEvent: _decision,
    records.AlarmEvent: _alarm,
    records.AcknowledgementEvent: lambda event: event.reason,
    records.RequestEvent: _request,
    records.ActionEvent: _action,
    records.ErasureRequest: lambda event: f"of everything about {event.subject}",
    records.ErasureEvent: _erasure,
}
