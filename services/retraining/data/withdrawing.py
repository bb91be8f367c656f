"""Erased answers leave the training data of every retraining, the finished ones too.

Per retraining, in an order that may be cut off anywhere and done again: the rows leave
`training.npz`, then `recipe.json`, then `manifest.json`, which keeps as facts the digest of what
there was, and of each withdrawn row a keyed commitment that alone says nothing. Versions that
learned from them stay as they are; `models.erasures` says so beside them.
"""

import hashlib
import hmac
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from models import durable, erasures
from models.registry import Registry, Version
from services.retraining.files import Folder

LOG = logging.getLogger("rightly.auditor")
MANIFEST: Final = "manifest.json"
_RECIPE: Final = "recipe.json"
_LOCK: Final = ".collecting.lock"


@contextmanager
def collecting(root: Path) -> Iterator[None]:
    """Hold the folder of retrainings: nothing is collected while rows are withdrawn."""
    root.mkdir(parents=True, exist_ok=True)
    with durable.exclusive(root / _LOCK):
        yield


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Takes predictions out of training data; an `audit.store.erasure.Forget`.

    Attributes:
        root: The folder of the retrainings.
        registry: Where the versions are.
        key: Secret of this installation, behind the commitments.
        now: The clock.
    """

    root: Path
    registry: Registry
    key: bytes
    now: Callable[[], datetime]

    def __call__(self, prediction_ids: Sequence[str]) -> Sequence[str]:
        """Withdraw predictions wherever they were learnt from; asked twice it answers the same.

        Returns:
            "name/version" of the versions that learned from one of them.
        """
        if not prediction_ids or not self.root.is_dir():
            return ()
        learned: list[str] = []
        with collecting(self.root):
            for path in sorted(self.root.iterdir()):
                if (path / MANIFEST).is_file():
                    learned += self._leave(Folder(path), set(prediction_ids))
        return tuple(dict.fromkeys(learned))

    def commitment(self, prediction_id: str) -> str:
        """Return what stands for a withdrawn row: 64 hexadecimal digits."""
        message = b"withdrawn\n" + prediction_id.encode()
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()

    def _leave(self, here: Folder, gone: set[str]) -> list[str]:
        manifest = here.read_json(MANIFEST)
        named = {str(each["row"]) for each in manifest["collected"]} & gone
        known = {each["commitment"]: each for each in manifest.get("withdrawn", [])}
        if named:
            known |= self._withdraw(here, manifest, named)
        ours = [known[each] for each in map(self.commitment, sorted(gone)) if each in known]
        learned = [each["commitment"] for each in ours if each["learned"]]
        if not learned:
            return []
        return [
            self._flag(version, learned, manifest) for version in self._versions_of(here.path.name)
        ]

    def _withdraw(
        self, here: Folder, manifest: dict[str, Any], named: set[str]
    ) -> dict[str, dict[str, Any]]:
        """Rewrite the files of one retraining without these rows; return what it says of them."""
        rows = here.read_set("training")
        kept = [number for number, name in enumerate(rows.ids) if name not in named]
        remaining = rows.take(np.array(kept, np.int64))
        here.write_set("training", remaining)
        recipe = here.read_json(_RECIPE)
        for told in (recipe, *recipe.get("tournament", {}).get("entrants", ())):
            for name in ("good", "bad"):
                if told.get(name) in named:
                    told[name] = ""
        here.write_json(_RECIPE, recipe)
        at = self.now().isoformat()
        begun = here.attempt(1).exists()
        fresh = [
            {"commitment": self.commitment(each), "at": at, "learned": begun}
            for each in sorted(named)
        ]
        manifest |= {
            "digest": remaining.digest,
            "original_digest": manifest.get("original_digest", manifest["digest"]),
            "collected": [each for each in manifest["collected"] if each["row"] not in named],
            "withdrawn": [*manifest.get("withdrawn", []), *fresh],
        }
        here.write_json(MANIFEST, manifest)
        LOG.info("%d erased rows have left the data of retraining %s", len(named), here.path.name)
        return {str(each["commitment"]): each for each in fresh}

    def _versions_of(self, retraining_id: str) -> Iterator[Version]:
        for name in self.registry.models():
            for version in self.registry.versions(name):
                if version.card.fields.lineage.recipe.get("retraining") == retraining_id:
                    yield version

    def _flag(self, version: Version, withdrawn: Sequence[str], manifest: dict[str, Any]) -> str:
        flag(self.registry, version, withdrawn, manifest, now=self.now())
        return f"{version.ref.name}/{version.ref.version}"


def flag_filed(registry: Registry, version: Version, here: Folder, *, now: datetime) -> None:
    """Say of a version that was just filed which of its rows were erased while it learned."""
    manifest = here.read_json(MANIFEST)
    learned = [each["commitment"] for each in manifest.get("withdrawn", []) if each["learned"]]
    flag(registry, version, learned, manifest, now=now)


def flag(
    registry: Registry,
    version: Version,
    withdrawn: Sequence[str],
    manifest: dict[str, Any],
    *,
    now: datetime,
) -> None:
    """Write down beside a version that rows which it learned from are erased."""
    if withdrawn:
        erasures.note(
            registry.root,
            version.ref.name,
            version.ref.version,
            withdrawn,
            dataset=manifest.get("original_digest"),
            now=now,
        )
