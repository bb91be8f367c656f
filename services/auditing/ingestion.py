"""From the journal into the store: one step takes a batch, measures, watches and decides.

A step is one transaction. Either all of it is there (the events, the cursor, the measures, the
states of the detectors, the alarms and requests that follow), or none of it, and the next step
does it again.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Protocol

from audit import policy, records
from audit.decided import DecisionEvent, Kind
from audit.errors import RecordError
from audit.journal import clearing, reader
from audit.journal.gaps import Gap
from audit.journal.lines import Place
from audit.store import decisions, erasure, ledger, projections, queries, states
from audit.store.anchors import RESTORED, AnchorFolder, regression
from audit.store.ledger import Batch, Ledger
from audit.watch.watching import DRILL, Watching
from services import clock
from services.auditing import reacting
from services.auditing.erasing import Erasing
from services.auditing.suspecting import Suspecting
from services.pictures import png
from services.records.images import ImageFolder

LOG = logging.getLogger("rightly.auditor")
# Entries of one source in one transaction.
BATCH = 256
# The policy found nothing to decide.
_QUIET: frozenset[tuple[Kind, str]] = frozenset({("quiet", "")})
# How often the policy looks at standing alarms.
DECIDE_EVERY = timedelta(seconds=5)


class Prober(Protocol):
    """Asks the served model about changed images."""

    def probe(
        self, answers: Sequence[tuple[records.PredictionRecord, bytes]], *, now: datetime
    ) -> Sequence[records.ProbeEvent]:
        """Probe a sample of answers whose region is known.

        Args:
            answers: Records and the PNG of their image.
            now: When.
        """


class Segmenting(Protocol):
    """Says where the object is in an answered image."""

    counts: dict[tuple[str, str], int]

    def wants(self, record: records.PredictionRecord) -> bool:
        """Whether it should see this answer."""

    def locate(
        self, answers: Sequence[tuple[records.PredictionRecord, bytes]], *, now: datetime
    ) -> Sequence[records.RegionEvent]:
        """Return one region per answer in which something was found."""


@dataclass(slots=True)
class Ingestion:
    """The auditor's work, step by step; only its leader may use it.

    Attributes:
        journal: The journal's folder.
        ledger: The store.
        images: Where images end.
        anchors: Where the head is published.
        watching: The detectors.
        prober: Probes reliance; None for none.
        segmenter: Says where the object is; None for never.
        suspecting: Groups heatmaps; None for never.
        plan: When a retraining may be asked for.
        retention: How long what is kept.
        identify: Makes ids for a moment.
        forget: Takes predictions out of training manifests.
        ticks: Seconds that only go forward.
        answering: Model → the version that is champion; None where that is not known.
        believed: Whether the heatmaps of a model's version may be believed. Where not, alarms over
            them inform and ask for nothing.
        broken: Source → why it cannot be read any further.
        erasing: Erases.
        head: Number of the last event in the chain.
        drilled: Model → when a drill of it last raised its alarm.
        restored: Why the store is not the one that its anchors know; "" where it is. Nothing is
            anchored until a person has accepted it.
    """

    journal: Path
    ledger: Ledger
    images: ImageFolder
    anchors: AnchorFolder
    watching: Watching
    identify: Callable[[datetime], str]
    prober: Prober | None = None
    segmenter: Segmenting | None = None
    suspecting: Suspecting | None = None
    plan: policy.Plan = field(default_factory=policy.Plan)
    retention: InitVar[erasure.Retention | None] = None
    forget: InitVar[erasure.Forget] = lambda _: ()
    ticks: InitVar[Callable[[], float]] = clock.ticks
    answering: Callable[[str], int | None] = lambda _: None
    believed: Callable[[str, int], bool] = lambda _model, _version: True
    broken: dict[str, str] = field(default_factory=dict)
    head: int = 0
    drilled: dict[str, datetime] = field(default_factory=dict)
    restored: str = ""
    _accepted: bool = False
    erasing: Erasing = field(init=False)
    _probed: list[tuple[str, str, float]] = field(default_factory=list)
    _places: dict[str, Place] = field(default_factory=dict)
    _drained: set[str] = field(default_factory=set)
    _decided: datetime | None = None
    _said: dict[str, frozenset[tuple[Kind, str]]] = field(default_factory=dict)

    def __post_init__(
        self,
        retention: erasure.Retention | None,
        forget: erasure.Forget,
        ticks: Callable[[], float],
    ) -> None:
        self.erasing = Erasing(
            self.journal,
            self.ledger,
            self.images,
            self.identify,
            retention or erasure.Retention(),
            forget,
            ticks,
        )

    def prepare(self, *, now: datetime) -> None:
        """Make or migrate the store, and go on where it stands."""
        self.ledger.prepare(now=now)
        self.reload()
        self.restored = regression(self.anchors.read(), self.ledger.anchor(now=now))
        if self.restored:
            LOG.error("the audit store was restored: %s", self.restored)
        with self.ledger.batch(now=now) as batch:
            self.erasing.begin(queries.last_ingested(batch.connection), now=now)
            for each in batch.resume():
                self._react(batch, each.seq, each.event)
            states.save(batch.connection, self.watching.settle(), seq=batch.head[0])
        self._publish(now)

    def reload(self) -> None:
        """Forget what a failed step left in memory; take it from the store again."""
        self._accepted = False
        with self.ledger.engine.begin() as connection:
            self._places = dict(ledger.places(connection))
            self.watching.load(states.load(connection))
            self.drilled = dict(queries.drills(connection))
            self._said = dict(decisions.gists(connection))
            self.erasing.reload(connection)
        if self.suspecting is not None:
            self.suspecting.reload(self.ledger)

    def step(self, *, now: datetime) -> int:
        """Ingest up to a batch of each source, then do what is due.

        Returns:
            How many journal entries were taken; 0 when there was nothing to read.
        """
        try:
            self._drained.clear()
            taken = sum(self._source(source, now) for source in reader.sources(self.journal))
            if self.erasing.step(self._places, self._drained, now=now):
                self._publish(now)
            self._decide(now)
            if self.suspecting is not None and self.suspecting.look(self.ledger, now=now):
                self._publish(now)
        except BaseException:
            self.reload()
            raise
        clearing.delete_finished(self.journal, self._places)
        return taken

    def pending(self) -> int:
        """Return the bytes of the journal that are not ingested yet."""
        return reader.pending(self.journal, self._places)

    def take_probes(self) -> Sequence[tuple[str, str, float]]:
        """Return model, region source and flip share of the probes since the last call."""
        taken, self._probed = self._probed, []
        return taken

    def _source(self, source: str, now: datetime) -> int:
        if source in self.broken:
            self._drained.add(source)  # nothing more can be read of it
            return 0
        entries: list[tuple[records.Entry, bytes, Place]] = []
        gaps: list[Gap] = []
        last = None
        try:
            behind = reader.recover(self.journal, source, self._places.get(source))
            for body, place in islice(behind, BATCH):
                if isinstance(body, Gap):
                    LOG.error("the journal is damaged: %s", body.told)
                    gaps.append(body)
                else:
                    entries.append((records.from_bytes(body), body, place))
                last = place
        except RecordError as error:
            # What came before the fault is taken; the other sources go on.
            LOG.exception("source %s cannot be read any further", source)
            self.broken[source] = str(error)
        if last is not None:
            self._ingest(entries, gaps, last, now)
        if len(entries) + len(gaps) < BATCH:
            self._drained.add(source)
        return len(entries) + len(gaps)

    def _ingest(
        self,
        entries: Sequence[tuple[records.Entry, bytes, Place]],
        gaps: Sequence[Gap],
        last: Place,
        now: datetime,
    ) -> None:
        pictures = [each for each, _, _ in entries if isinstance(each, records.ImageRecord)]
        # Before the commit: afterwards the segment may go, and writing twice does no harm.
        self.images.write_all({each.address: png.recompressed(each.png.data) for each in pictures})
        with self.ledger.batch(now=now) as batch:
            events = [
                (event, body, place)
                for event, body, place in entries
                if not isinstance(event, records.ImageRecord)
            ]
            applied = batch.ingest(events)
            for each in applied:
                self._react(batch, each.seq, each.event)
            self.erasing.look_after(batch.ingested, applied)
            for gap in gaps:
                event_id = self.identify(now)
                batch.append(records.ActionEvent(event_id, now, "gap", "auditor", gap.told))
            located = self._located(batch, pictures, now)
            for region in located:
                self._react(batch, batch.append(region).seq, region)
            probes = self._probes(batch, pictures, located, now)
            for probe in probes:
                self._react(batch, batch.append(probe).seq, probe)
            batch.move_cursor(last)
            states.save(batch.connection, self.watching.settle(), seq=batch.head[0])
        self._places[last.segment.source] = last
        models = {each.event.event_id: each.event for each in batch.ingested}
        for probe in probes:
            answer = models.get(probe.prediction_id)
            if isinstance(answer, records.PredictionRecord):
                self._probed.append((answer.model.name, probe.source, probe.measures["flip"]))
        self._publish(now)

    def _publish(self, now: datetime) -> None:
        anchor = self.ledger.anchor(now=now)
        if self._accepted and self.restored:
            self.anchors.set_aside(now=now)
            self.restored = ""
        self._accepted = False
        if anchor.seq < self.head and not self.restored:
            self.restored = f"it ends at event {anchor.seq}, but had {self.head} a moment ago"
            LOG.error("the audit store was exchanged: %s", self.restored)
        if not self.restored:
            self.anchors.publish(anchor)
        self.head = anchor.seq

    def _located(
        self, batch: Batch, pictures: Sequence[records.ImageRecord], now: datetime
    ) -> Sequence[records.RegionEvent]:
        """Let the segmenter look at the answers that nobody sent a region with."""
        if self.segmenter is None:
            return []
        by_id = {picture.event_id: picture.png.data for picture in pictures}
        seen = []
        for event in (each.event for each in batch.ingested):
            if isinstance(event, records.PredictionRecord) and self.segmenter.wants(event):
                # Its pixels came in an earlier batch where the border of two lies between them.
                png = by_id.get(event.event_id) or self.images.read(event.image or "")
                if png is not None:
                    seen.append((event, png))
        return self.segmenter.locate(seen, now=now) if seen else []

    def _probes(
        self,
        batch: Batch,
        pictures: Sequence[records.ImageRecord],
        located: Sequence[records.RegionEvent],
        now: datetime,
    ) -> Sequence[records.ProbeEvent]:
        if self.prober is None:
            return []
        by_id = {picture.event_id: picture.png.data for picture in pictures}
        regions = {each.prediction_id: each.region for each in located}
        answers = []
        for event in (each.event for each in batch.ingested):
            if isinstance(event, records.PredictionRecord) and event.event_id in by_id:
                known = replace(event, region=event.region or regions.get(event.event_id))
                if known.region is not None:
                    answers.append((known, by_id[event.event_id]))
        return self.prober.probe(answers, now=now) if answers else []

    def _react(self, batch: Batch, seq: int, event: records.Event) -> None:
        reacting.react(batch, seq, event, self.watching)
        self.erasing.notice(event)
        if isinstance(event, records.RequestEvent) and event.origin == "alertmanager":
            self._bound(batch, seq, event)
        if isinstance(event, records.ActionEvent) and queries.is_drilled(event):
            self.drilled[event.details.get("model", "")] = event.event_time
        if isinstance(event, records.ActionEvent) and event.action == "config_change":
            self._accepted |= event.details.get("accepted") == RESTORED
        if self.suspecting is not None:
            self.suspecting.react(batch, event)

    def _bound(self, batch: Batch, seq: int, event: records.RequestEvent) -> None:
        """Hold requests from outside to the policy's cool-down and budget."""
        made = queries.past_requests(batch.connection, event.model)
        others = [each for each in made if each.request_id != event.request_id]
        is_new = seq == queries.request_seq(batch.connection, event.request_id)
        blocking = policy.blocks(self.plan, others, event.event_time) if is_new else []
        if blocking:
            projections.set_request_status(batch.connection, event.request_id, "superseded")
            batch.append(
                DecisionEvent(
                    event_id=self.identify(batch.now),
                    event_time=event.event_time,
                    model=event.model,
                    retrain=False,
                    reasons=tuple(blocking),
                    request_id=event.request_id,
                )
            )

    def _decide(self, now: datetime) -> None:
        """Let the policy turn standing alarms into requests."""
        # A clock that has gone back is no reason to wait for where it was.
        if self._decided is not None and abs(now - self._decided) < DECIDE_EVERY:
            return
        self._decided = now
        for model in sorted({each.series.model for each in self.watching.watched.values()}):
            standing = self.watching.standing(model)
            answering = None if model.endswith(DRILL) else self.answering(model)
            if answering is not None:  # what a canary does is its rollout's affair
                standing = [each for each in standing if each.series.version == answering]
            if not standing or model.endswith(DRILL):
                continue
            with self.ledger.batch(now=now) as batch:
                trusted = answering is None or self.believed(model, answering)
                decision = policy.decide(
                    standing,
                    self.plan if trusted else self.plan.without_heatmaps,
                    regions=queries.regions(batch.connection, model),
                    requests=queries.past_requests(batch.connection, model),
                    now=now,
                )
                self._say(batch, model, decision)
                states.save(batch.connection, self.watching.settle(), seq=batch.head[0])

    def _request(self, batch: Batch, model: str, decision: policy.Decision) -> str:
        request_id = self.identify(batch.now)
        for number, alarm_id in enumerate(decision.alarm_ids):
            event = records.RequestEvent(
                event_id=f"{request_id}.{number}",
                event_time=batch.now,
                request_id=request_id,
                model=model,
                origin="policy",
                actor="policy",
                reason="; ".join(map(str, decision.reasons)),
                alarm_id=alarm_id,
            )
            self._react(batch, batch.append(event).seq, event)
        return request_id

    def _say(self, batch: Batch, model: str, decision: policy.Decision) -> None:
        """Write a decision down, with its request, unless the last one said the same."""
        if not decision.retrain and decision.gist in (_QUIET, self._said.get(model)):
            return
        self._said[model] = decision.gist
        request_id = self._request(batch, model, decision) if decision.retrain else None
        batch.append(
            DecisionEvent(
                event_id=self.identify(batch.now),
                event_time=batch.now,
                model=model,
                retrain=decision.retrain,
                reasons=decision.reasons,
                alarm_ids=decision.alarm_ids,
                request_id=request_id,
            )
        )
