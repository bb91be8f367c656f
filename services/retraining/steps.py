"""The steps of a retraining, from collecting data to promoting what was learnt.

Each may be killed anywhere and begun again: it looks at what is there before it does anything. A
step returns None to go on, or how the retraining ends. It never raises for what can be foreseen.
"""

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from audit import change_control, gate, records
from audit.change_control import ChangePlan
from audit.errors import JournalUnavailableError
from audit.gate import Technical
from models import cards
from models.cards import CardFields, Lineage
from models.errors import VersionConflictError
from models.registry import Registry, Version
from models.rollout import Phase
from models.runtime import Session
from services.identifiers import identifier
from services.records.recording import Recorder
from services.records.stores import StoreReader
from services.retraining import comparing, evaluating, files
from services.retraining.data import bases, preparing, withdrawing
from services.retraining.endings import Ending
from services.retraining.files import Folder
from services.retraining.jobs.launchers import Launcher
from services.retraining.jobs.working import Verb, Work
from services.retraining.rows import ACTIVE, Retraining, Rows
from services.rollouts import trial
from services.rollouts.driving import Driver
from services.rollouts.horizon import Horizon
from services.rollouts.moves import Mover
from services.settings import Settings
from services.versions import baselines
from services.versions.references import FIELD

LOG = logging.getLogger("rightly.runner")
ACTOR = "retraining"
_LOOK_SECONDS = 0.2
_SEED = 0


@dataclass(frozen=True, slots=True)
class Steps:
    """Everything that a retraining needs.

    Attributes:
        chosen: The settings.
        rows: The record.
        registry: Where versions are.
        launcher: Where training runs.
        recorder: Where promotions and verdicts are written down for the auditor.
        store: The audit store, where the evidence about a candidate on trial is.
        now: The clock.
        horizon: Until when the evidence is complete.
    """

    chosen: Settings
    rows: Rows
    registry: Registry
    launcher: Launcher
    recorder: Recorder
    store: StoreReader
    now: Callable[[], datetime]
    horizon: Horizon

    @property
    def all(self) -> Mapping[str, Callable[[str], Ending | None]]:
        """The steps in their order."""
        return {
            "collect": self.collect,
            "train": self.train,
            "export": self.export,
            "evaluate": self.evaluate,
            "gate": self.gate,
            "approve": self.approve,
            "shadow": self.shadow,
            "canary": self.canary,
            "promote": self.promote,
        }

    def collect(self, retraining_id: str) -> Ending | None:
        """Gather the data, choose how to learn, and write both down for the training process."""
        request = self.rows.get(retraining_id).request
        found = preparing.prepare(
            self.chosen, self.registry, self._plan(), request, self._folder(retraining_id)
        )
        self._learn(retraining_id, found.facts, found.said)
        return None

    def train(self, retraining_id: str) -> Ending | None:
        """Run the training process to its end, over as many attempts as it takes.

        Where it held a tournament, who took part is written down, with what each showed.
        """
        ended = self._run(retraining_id, "train")
        here = self._folder(retraining_id)
        if ended is None and (here.path / files.TOURNAMENT).is_file():
            held, recipe = here.read_json(files.TOURNAMENT), here.read_json("recipe.json")
            facts = {
                "objective": recipe["objective"],
                "choice": held["reason"],
                "tournament": held["entrants"],
            }
            self._learn(retraining_id, facts, f"{recipe['objective']}, because {held['reason']}")
        return ended

    def export(self, retraining_id: str) -> Ending | None:
        """Turn the trained weights into graphs, check them, and file them as a version."""
        learnt = self.rows.get(retraining_id)
        trained = self._folder(retraining_id).attempt(learnt.attempt)
        if collapsed := Folder(trained).read_json(files.TRAINED).get("collapsed"):
            return Ending("rejected", str(collapsed))
        ended = self._run(retraining_id, "export")
        if ended is not None:
            return ended
        found, here = self.rows.get(retraining_id), self._folder(retraining_id)
        attempt = here.attempt(found.attempt)
        exported = attempt / "exported"
        champion = self.registry.version(found.request.model, int(found.facts["champion"]))
        candidate = self.registry.add(
            found.request.model,
            _with_samples(exported / "version", champion),
            self._card(found, champion, Folder(attempt), Folder(exported)),
            now=found.created_at,
        )
        withdrawing.flag_filed(self.registry, candidate, here, now=self.now())
        self._plan().admit_classifier(_kind(champion), _kind(candidate))
        self._learn(
            retraining_id,
            {"candidate": candidate.ref.version, "digest": candidate.ref.digest},
            f"filed as version {candidate.ref.version}",
        )
        return None

    def evaluate(self, retraining_id: str) -> Ending | None:
        """Ask champion and candidate the locked set, and let the gate judge."""
        found, here = self.rows.get(retraining_id), self._folder(retraining_id)
        model, facts = found.request.model, found.facts
        versions = [
            self.registry.version(model, int(facts[each])) for each in ("champion", "candidate")
        ]
        locked = here.read_set("locked")
        units = bases.units_from(here.read_json("manifest.json")["units"])
        sessions = []
        for each in versions:
            self.registry.verify(each)
            sessions.append(Session.open(each.folder, device="cpu", threads=1))
        before, after = (
            evaluating.outcomes(session, locked, units, model=f"{model}@{each.ref.version}")
            for session, each in zip(sessions, versions, strict=True)
        )
        comparing.write(here, sessions, locked, before, after)
        slow, fast = evaluating.latencies(sessions, locked.images[0].astype("uint8"))
        verdict = gate.decide(
            before,
            after,
            Technical(
                parity=versions[1].card.fields.parity is not None,
                champion_milliseconds=slow,
                candidate_milliseconds=fast,
            ),
            self._plan().margins,
            seed=_SEED,
        )
        measured = {"before": evaluating.summary(before), "after": evaluating.summary(after)}
        here.write_json("verdict.json", verdict.to_json())
        self._learn(
            retraining_id,
            {"measured": measured, "verdict": _short(verdict.to_json())},
            f"evaluated on {len(locked)} locked rows",
        )
        return None

    def gate(self, retraining_id: str) -> Ending | None:
        """End where the verdict refuses."""
        found = self.rows.get(retraining_id)
        verdict = found.facts["verdict"]
        word = "passed" if verdict["passed"] else "refused"
        reasons = "; ".join(verdict["reasons"])
        self._note(found, "gate_result", {"verdict": word, "reasons": reasons[:2000]})
        self._learn(retraining_id, {}, f"the gate {word}: {reasons}")
        return None if verdict["passed"] else Ending("rejected", f"the gate refused: {reasons}")

    def approve(self, retraining_id: str) -> Ending | None:
        """Wait for as many persons as the plan asks for; one refusal ends it."""
        verdict = self.rows.get(retraining_id).facts["verdict"]
        needed = self._plan().approval.persons_for(conflict=verdict.get("conflict", False))
        while needed:
            said = self.rows.approvals(retraining_id)
            refused = next((each for each in said if not each.approved), None)
            if refused is not None:
                return Ending("rejected", f"{refused.actor} refused: {refused.reason}")
            if len(said) >= needed:
                names = ", ".join(each.actor for each in said)
                self._note(self.rows.get(retraining_id), "approval", {"actors": names})
                break
            self.rows.move(
                retraining_id, expected=("running",), status="awaiting_approval", now=self.now()
            )
            if (ended := self.cancelled(retraining_id)) is not None:
                return ended
            time.sleep(_LOOK_SECONDS)
        self.rows.move(
            retraining_id, expected=("awaiting_approval",), status="running", now=self.now()
        )
        return None

    def shadow(self, retraining_id: str) -> Ending | None:
        """Let the candidate answer silently beside the champion, as long as the plan says."""
        return self._try(retraining_id, "shadow", self._plan().shadow.requests)

    def canary(self, retraining_id: str) -> Ending | None:
        """Let the candidate answer a share of the requests, as long as the plan says."""
        return self._try(retraining_id, "canary", self._plan().canary.requests)

    def promote(self, retraining_id: str) -> Ending | None:
        """Move the champion pointer, once, and only from the champion that was compared with."""
        found = self.rows.get(retraining_id)
        model, facts = found.request.model, found.facts
        champion, candidate = int(facts["champion"]), int(facts["candidate"])
        if self._plan().digest != facts["plan"]:
            return Ending("rejected", "the change-control plan has changed meanwhile")
        reason = _reason(found)
        pointer = self.registry.pointer(model)
        tried = pointer.rollout is not None or "trial" in facts
        if pointer.version != candidate and not self._was_promoted(model, candidate, reason):
            try:
                self.mover.promote(
                    model,
                    candidate,
                    reason=reason,
                    actor=ACTOR,
                    now=self.now(),
                    expected=champion,
                    approved_by=self._approved_by(retraining_id),
                    rollout_id=retraining_id if tried else None,
                )
            except VersionConflictError as error:
                return Ending(
                    "rejected", f"the champion or the trial was moved meanwhile: {error}"
                )
        self.mover.tell(model)
        return Ending("promoted", f"version {candidate} answers instead of version {champion}")

    def cancelled(self, retraining_id: str) -> Ending | None:
        """Return the end that somebody asked for, if anybody did."""
        by = self.rows.get(retraining_id).cancelled_by
        return None if by is None else Ending("cancelled", f"cancelled by {by}")

    @property
    def mover(self) -> Mover:
        """Moves the pointers and writes it down."""
        return Mover(self.registry, self.recorder, lambda: self._plan().digest)

    @property
    def driver(self) -> Driver:
        """Looks at candidates on trial."""
        return Driver(self.mover, self.store, self._plan, self.now, self.horizon)

    def finish(self, retraining_id: str, ending: Ending) -> None:
        """Write the end down; a retraining ends once, and leaves no candidate on trial."""
        model = self.rows.get(retraining_id).request.model
        trial.withdraw_left(self.driver, model, retraining_id, f"{ending.status}: {ending.reason}")
        changed = self.rows.move(
            retraining_id,
            expected=ACTIVE,
            status=ending.status,
            step="ended",
            reason=ending.reason,
            now=self.now(),
            said=f"{ending.status}: {ending.reason}",
        )
        if changed:
            LOG.info("%s %s: %s", retraining_id, ending.status, ending.reason)
            self._tell_request(self.rows.get(retraining_id), ending.status)

    def _run(self, retraining_id: str, verb: Verb) -> Ending | None:
        work = Work(self.chosen, self.rows, self.registry, self.launcher, self.now)
        return work.run(retraining_id, verb)

    def _try(self, retraining_id: str, phase: Phase, requests: int) -> Ending | None:
        """Take the candidate through one phase of its trial; 0 requests leave it out."""
        found = self.rows.get(retraining_id)
        facts = found.facts
        if requests == 0:
            return None
        if self._plan().digest != facts["plan"]:
            return Ending("rejected", "the change-control plan has changed meanwhile")
        wanted = trial.Wanted(
            model=found.request.model,
            version=int(facts["candidate"]),
            champion=int(facts["champion"]),
            retraining_id=retraining_id,
            reason=_reason(found),
            approved_by=self._approved_by(retraining_id),
            when_quiet=found.request.when_quiet,
            heatmaps_fall=bool(facts["verdict"].get("conflict")),
        )

        def is_cancelled() -> bool:
            return self.cancelled(retraining_id) is not None

        try:
            tried = trial.run(self.driver, phase, wanted, cancelled=is_cancelled)
        except VersionConflictError as error:
            return Ending("rejected", f"it cannot be tried: {error}")
        known = {**facts.get("trial", {}), phase: tried.reason}
        self._learn(retraining_id, {"trial": known}, f"{phase}: {tried.reason}")
        if (ended := self.cancelled(retraining_id)) is not None:
            return ended
        if tried.passed:
            return None
        return Ending("rolled_back" if tried.answered else "rejected", f"{phase}: {tried.reason}")

    def _approved_by(self, retraining_id: str) -> str:
        said = [each.actor for each in self.rows.approvals(retraining_id) if each.approved]
        return ", ".join(said) or "rule"

    def _card(
        self, found: Retraining, champion: Version, attempt: Folder, exported: Folder
    ) -> CardFields:
        """Return what the candidate's card says: whence, how, and how near torch."""
        here = self._folder(found.retraining_id)
        recipe = here.read_json("recipe.json")
        manifest = here.read_json("manifest.json")
        trained = attempt.read_json(files.TRAINED)
        base = {key: value for key, value in manifest["base"].items() if key != "rows"}
        held = here.read_set("validation")
        measured = {f"validation_{k}": round(v, 4) for k, v in trained["validation"].items()}
        stated = baselines.measure(
            exported.path / "version",
            held.images.astype(np.uint8),
            held.masks(np.arange(len(held)))[0],
        )
        reactions = exported.read_json(files.SANITY)
        return CardFields(
            measures={**measured, FIELD: stated, cards.REACTIONS: reactions},
            lineage=Lineage(
                parent=champion.ref.digest,
                dataset=manifest["digest"],
                recipe={
                    "objective": recipe["objective"],
                    "options": recipe["options"],
                    "training": recipe["training"],
                    "begins_with": recipe["begins_with"],
                    **base,
                    "retraining": found.retraining_id,
                    "collected": len(manifest["collected"]),
                    "plan": found.facts["plan"],
                    "provenance": trained["provenance"],
                },
                seeds=(int(recipe["training"].get("seed", 0)),),
            ),
            parity=exported.read_json("parity.json"),
            note=f"Retrained by {recipe['objective']}: {found.request.reason}"[:500],
        )

    def _was_promoted(self, model: str, candidate: int, reason: str) -> bool:
        """Whether this very retraining has moved the pointer before it was killed."""
        return any(
            move.version == candidate and move.reason == reason and move.actor == ACTOR
            for move in self.registry.history(model)
        )

    def _learn(self, retraining_id: str, facts: Mapping[str, Any], said: str) -> None:
        self.rows.move(retraining_id, expected=ACTIVE, facts=facts, now=self.now(), said=said)

    def _tell_request(self, found: Retraining, status: str) -> None:
        by_person = found.request.origin == "person" or found.key is None
        request = str(found.retraining_id if by_person else found.key)
        self._note(found, "run", {"request_id": request, "status": status})

    def _note(self, found: Retraining, action: Any, details: Mapping[str, str]) -> None:  # noqa: ANN401 - one of a record's literals
        """Write an action down for the auditor; a full disk must not end a retraining."""
        now = self.now()
        told = {"retraining_id": found.retraining_id, "model": found.request.model, **details}
        try:
            self.recorder.note(
                [records.ActionEvent(identifier(now), now, action, found.request.actor, told)]
            )
        except JournalUnavailableError:
            LOG.exception("%s of %s is not in the audit trail", action, found.retraining_id)

    def _plan(self) -> ChangePlan:
        return change_control.load(self.chosen.change_control or change_control.DEFAULT)

    def _folder(self, retraining_id: str) -> Folder:
        return Folder(self.chosen.retrainings / retraining_id)


def _reason(found: Retraining) -> str:
    return f"retraining {found.retraining_id}: {found.request.reason}"[:2000]


def _kind(version: Version) -> dict[str, Any]:
    spec = version.card.spec
    return {"architecture": spec.architecture, "head": spec.head, "classes": spec.classes}


def _with_samples(folder: Path, champion: Version) -> Path:
    """Let the champion's sample images travel on."""
    source, target = champion.folder / "samples", folder / "samples"
    if source.is_dir() and not target.is_dir():
        draft = target.with_name(".samples")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft)
        draft.replace(target)
    return folder


def _short(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict as REST shows it: the checks without the margins' table."""
    names = ("passed", "conflict", "champion", "candidate", "dataset", "observations")
    return {name: verdict[name] for name in (*names, "reasons", "checks")}
