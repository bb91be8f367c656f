"""The parts of an installation: what each is for, and which of its packages are missing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

DISTRIBUTION: Final = "rightly"
TRAINING: Final = "retraining"
_RUNTIMES: Final = frozenset({"cpu", "gpu"})  # chosen by the machine, not parts
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA: Final = re.compile(r"""extra\s*==\s*['"]([a-z0-9-]+)['"]""")


class UnknownPartError(Exception):
    """There is no such part, or nothing says what belongs to it."""


@dataclass(frozen=True, slots=True)
class Part:
    """What may be installed or left out.

    Attributes:
        name: As people call it.
        extra: The extra of the distribution that holds it.
        purpose: What it is for, in a few words.
    """

    name: str
    extra: str
    purpose: str


PARTS: Final = (
    Part(TRAINING, "train", "learn, export and retrain: torch and what goes with it"),
    Part("imagenet", "imagenet", "`rightly models add imagenet`"),
    Part("search", "search", "`rightly train --search`"),
    Part("dicom", "dicom", "DICOM uploads"),
    Part("parquet", "parquet", "manifests of data sets as Parquet"),
    Part("sign-in", "oidc", "sign-in through a provider of OpenID Connect"),
    Part("notifications", "notify", "alarms, refusals, promotions to webhook, Slack or e-mail"),
    Part("tracing", "tracing", "spans of each request to a collector of OpenTelemetry's"),
    Part("postgresql", "postgres", "the audit store on PostgreSQL"),
    Part("ray", "ray", "a Ray head of one's own"),
    Part("development", "dev", "tests, linters, benchmarks"),
)


def parts() -> list[Part]:
    """Return every part: those above, and extras of the distribution that are not among them."""
    try:
        extras = metadata.metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        extras = []
    others = sorted({*extras} - {each.extra for each in PARTS} - _RUNTIMES)
    return [*PARTS, *(Part(each, each, f"the extra `{each}`") for each in others)]


def part(name: str) -> Part:
    """Return the part of this name, or of this extra.

    Raises:
        UnknownPartError: If there is none.
    """
    for each in parts():
        if name in {each.name, each.extra}:
            return each
    names = ", ".join(each.name for each in parts())
    raise UnknownPartError(f"no part {name!r}; there are {names}")


def requirements(extra: str) -> list[str]:
    """Return what an extra asks for, for example ["torch<3,>=2.9", …]; "" for the core.

    Raises:
        UnknownPartError: If Rightly is not installed as a distribution, or has no such extra.
    """
    try:
        listed = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError as error:
        raise UnknownPartError(
            f"{DISTRIBUTION} is not installed as a package here, so its parts are not known"
        ) from error
    found = [text for text, of in map(_parsed, listed) if of == extra]
    if not found:
        raise UnknownPartError(f"{DISTRIBUTION} has no extra {extra!r}")
    return found


def missing(extra: str) -> list[str]:
    """Return the names of the packages of an extra that are not installed.

    Raises:
        UnknownPartError: As `requirements`.
    """
    return [name for name in _names(requirements(extra)) if not _installed(name)]


def runtimes() -> list[str]:
    """Return which builds of ONNX Runtime are installed: exactly one of them should be."""
    return [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]


def damaged() -> list[str]:
    """Return the names of the installed packages of which a file is missing.

    An installation that was interrupted leaves such; half a minute of work at most is lost.
    """
    found = []
    for each in metadata.distributions():
        files = each.files
        if files is None or not all(
            Path(str(each.locate_file(file))).exists() for file in files if file.suffix != ".pyc"
        ):
            found.append(each.metadata["Name"])
    return sorted(found)


def _parsed(line: str) -> tuple[str, str]:
    """Return a requirement and the extra that it belongs to; "" for the core."""
    text, _, marker = line.partition(";")
    of = _EXTRA.search(marker)
    return text.strip(), of.group(1) if of else ""


def _names(texts: Iterable[str]) -> Iterable[str]:
    return (found.group() for found in map(_NAME.match, texts) if found)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
