"""What whoever uses a version should know before trusting it, in sentences."""

from models import cards, erasures
from models.registry import Registry, Version


def cautions(registry: Registry, version: Version) -> list[str]:
    """Return what speaks against a version or its explainers; empty where nothing does."""
    return [*_unmoved(version), *_erased(registry, version)]


def _unmoved(version: Version) -> list[str]:
    stated = version.card.fields.measures.get(cards.REACTIONS)
    if not isinstance(stated, dict):
        return []
    return [
        f"{name} hardly reacts to the weights: its maps on random weights resemble those of the "
        f"trained ones (rank correlation {float(each['similarity']):.2f})"
        for name, each in sorted(stated.items())
        if isinstance(each, dict) and each.get("reacts") is False
    ]


def _erased(registry: Registry, version: Version) -> list[str]:
    entries = erasures.of(registry.root, version.ref.name, version.ref.version)
    count = sum(len(each["withdrawn"]) for each in entries)
    if not count:
        return []
    rows = "row" if count == 1 else "rows"
    return [f"trained on since-erased data: {count} {rows}, last on {entries[-1]['at'][:10]}"]
