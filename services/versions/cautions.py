"""What whoever uses a version should know before trusting it, in sentences."""

from collections.abc import Mapping

from models import cards, erasures
from models.registry import Registry, Version

# A map whose hottest places matter less than others by this much of the probability misleads; less
# is noise of sixteen images.
_BESIDE = 0.05


def cautions(registry: Registry, version: Version) -> list[str]:
    """Return what speaks against a version or its explainers; empty where nothing does."""
    return [*_unmoved(version), *_erased(registry, version)]


def _unmoved(version: Version) -> list[str]:
    stated = version.card.fields.measures.get(cards.REACTIONS)
    if not isinstance(stated, dict):
        return []
    found = {name: each for name, each in sorted(stated.items()) if isinstance(each, dict)}
    return [
        *(
            f"{name} hardly reacts to the weights: its maps on random weights resemble those of "
            f"the trained ones (rank correlation {float(each['similarity']):.2f})"
            for name, each in found.items()
            if each.get("reacts") is False
        ),
        *(
            f"{name} points beside the evidence: painting over what it shows costs the answer "
            f"{-float(each['deletion']):.2f} less than painting over another place"
            for name, each in found.items()
            if _beside(each)
        ),
    ]


def believable(version: Version, explainer: str) -> bool:
    """Return whether an explainer's maps may be believed on this network.

    They may where they react to the weights and do not point beside the evidence; where the card
    is silent, nothing speaks against them.
    """
    stated = version.card.fields.measures.get(cards.REACTIONS)
    each = stated.get(explainer) if isinstance(stated, dict) else None
    return not isinstance(each, dict) or (each.get("reacts") is not False and not _beside(each))


def _beside(stated: Mapping[str, object]) -> bool:
    match stated.get("deletion"):
        case float() | int() as deletion:
            return deletion < -_BESIDE
        case _:
            return False


def _erased(registry: Registry, version: Version) -> list[str]:
    entries = erasures.of(registry.root, version.ref.name, version.ref.version)
    count = sum(len(each["withdrawn"]) for each in entries)
    if not count:
        return []
    rows = "row" if count == 1 else "rows"
    return [f"trained on since-erased data: {count} {rows}, last on {entries[-1]['at'][:10]}"]
