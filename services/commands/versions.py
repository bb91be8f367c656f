"""`rightly models …`: what is in the registry, which version answers, versions in and out."""

import getpass
from pathlib import Path
from typing import Annotated, Literal

import typer

from models import archive
from models.errors import RegistryError
from models.registry import Registry, Version
from models.statements import described
from services import clock, settings
from services.commands import terminal
from services.versions.cautions import cautions

BENTOML = "bentoml:"

Name = Annotated[str, typer.Argument(help="The model's name.")]
MaybeNumber = Annotated[
    int | None, typer.Argument(metavar="VERSION", help="The version; the champion if left out.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Reason = Annotated[str, typer.Option(help="Why, in a sentence; kept in the history.")]
Expected = Annotated[
    int | None,
    typer.Option(help="Refuse if the champion is not this version; 0 for none yet."),
]
WhenQuiet = Annotated[
    Literal["go_on", "withdraw"] | None,
    typer.Option(
        help="What to do where a trial with live requests ends with too few of them. "
        "If left out: as the change-control plan says.",
    ),
]
Promote = Annotated[
    bool | None,
    typer.Option(
        "--promote/--no-promote",
        help="Let it answer. If left out: only where the model has no champion yet.",
    ),
]


def opened() -> Registry:
    """Return the registry of the settings."""
    return Registry(settings.load().registry)


def default(chosen: settings.Settings) -> str:
    """Return the model that is meant where a command names none."""
    return chosen.default_among(Registry(chosen.registry).models())


def find(registry: Registry, name: str, number: int | None) -> Version:
    """Return a version, or the champion where none is named."""
    return registry.champion(name) if number is None else registry.version(name, number)


def list_models(
    name: Annotated[str | None, typer.Argument(help="Only this model, by version.")] = None,
    *,
    json: Json = False,
) -> None:
    """List the models, or the versions of one model."""
    registry = opened()
    names = registry.models() if name is None else [name]
    rows = [
        {
            "name": each.ref.name,
            "version": each.ref.version,
            "champion": registry.pointer(each.ref.name).version == each.ref.version,
            "digest": each.ref.digest,
            "architecture": each.card.spec.architecture,
            "classes": len(each.card.spec.classes),
            "created_at": each.card.created_at,
            "note": each.card.fields.note,
            "cautions": cautions(registry, each),
        }
        for model in names
        for each in registry.versions(model)
    ]
    if json:
        terminal.print_json(rows)
        return
    if not rows:
        terminal.say(f"no models in {registry.root}; `rightly up` trains a small one")
        return
    shown = terminal.table(
        "", "model", "version", "champion", "architecture", "classes", "filed", "cautions"
    )
    for row in rows:
        told = row["cautions"]
        shown.add_row(
            str(row["name"]),
            str(row["version"]),
            "yes" if row["champion"] else "",
            str(row["architecture"]),
            str(row["classes"]),
            str(row["created_at"])[:16],
            str(len(told)) if isinstance(told, list) and told else "",
        )
    terminal.console.print(shown)


def show(name: Name, version: MaybeNumber = None, *, json: Json = False) -> None:
    """Show a version's card: what it is, where it comes from, what was measured."""
    registry = opened()
    found = find(registry, name, version)
    if json:
        terminal.print_json(found.card.as_json())
        return
    shown = terminal.table(f"{name} version {found.ref.version}", "what", "value")
    card = found.card
    fields = card.fields
    rows: dict[str, object] = {
        "digest": found.ref.digest,
        "filed": card.created_at,
        "folder": found.folder,
        "classes": ", ".join(card.spec.classes[:20])
        + (" …" if len(card.spec.classes) > 20 else ""),  # noqa: PLR2004 - a line or two
        **described(card.spec),
        "heatmap": "{} x {} cells".format(*grid) if (grid := card.grid) else "not known",
        **{f"measure: {key}": value for key, value in fields.measures.items()},
        "parent": fields.lineage.parent or "none",
        "data": fields.lineage.dataset or "not known",
        **{f"recipe: {key}": value for key, value in fields.lineage.recipe.items()},
        "seeds": ", ".join(map(str, fields.lineage.seeds)) or "none",
        **{f"library: {key}": value for key, value in fields.lineage.libraries.items()},
        "files": ", ".join(path for path in card.files if "/" not in path),
        "note": fields.note,
    }
    for caution in cautions(registry, found):
        shown.add_row("caution", caution)
    for what, value in rows.items():
        shown.add_row(what, str(value))
    terminal.console.print(shown)
    warn(found)
    for move in registry.history(name):
        terminal.say(
            f"{move.at[:16]}  {move.action} → {move.version}  ({move.actor}) {move.reason}"
        )


def verify(name: Name, version: MaybeNumber = None) -> None:
    """Read every file of a version and compare it with the digests of its card."""
    registry = opened()
    found = find(registry, name, version)
    registry.verify(found)
    terminal.say(f"{name} version {found.ref.version}: all {len(found.card.files)} files as filed")


def promote(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version that shall answer.")],
    *,
    reason: Reason,
    expected: Expected = None,
    canary: Annotated[
        float | None,
        typer.Option(
            help="Begin with this share of the requests; the runner makes it champion, or not.",
            metavar="SHARE",
        ),
    ] = None,
    when_quiet: WhenQuiet = None,
) -> None:
    """Let a version answer from now on; workers take it up without a failed request."""
    from services.commands import moving

    chosen = settings.load()
    if canary is not None:
        if not 0.0 < canary <= 1.0:
            terminal.fail(f"--canary {canary}: a share of the requests lies in (0, 1]")
        moving.begin(
            chosen,
            name,
            version,
            share=canary,
            when_quiet=when_quiet or "",
            reason=reason,
            actor=actor(),
            expected=expected,
        )
        return
    before = opened().pointer(name).version
    with moving.mover(chosen) as mover:
        mover.promote(
            name, version, reason=reason, actor=actor(), now=clock.now(), expected=expected
        )
    terminal.say(f"[bold]{name}[/]: version {version} answers (before: {before or 'none'})")


def rollback(name: Name, *, reason: Reason, expected: Expected = None) -> None:
    """Undo the last promotion."""
    from services.commands import moving

    before = opened().pointer(name).version
    with moving.mover(settings.load()) as mover:
        found = mover.rollback(
            name, reason=reason, actor=actor(), now=clock.now(), expected=expected
        )
    terminal.say(f"[bold]{name}[/]: version {found.ref.version} answers again (before: {before})")


def export_version(
    name: Name,
    version: MaybeNumber = None,
    *,
    to: Annotated[
        Path | None,
        typer.Option(help=f"The archive to write. Default: NAME-VERSION{archive.SUFFIX}."),
    ] = None,
    bentoml: Annotated[
        bool, typer.Option("--bentoml", help="Into BentoML's model store instead of a file.")
    ] = False,
) -> None:
    """Write a version, card and all, to one archive or to BentoML's model store."""
    registry = opened()
    found = find(registry, name, version)
    if bentoml:
        from services.versions.bento_models import export_bento_model

        settings.stop_usage_reports()
        terminal.say(f"{BENTOML}{export_bento_model(registry, found)}")
        return
    path = to or Path(f"{name}-{found.ref.version}{archive.SUFFIX}")
    registry.export_archive(found, path)
    terminal.say(f"{path}  {found.ref.digest}")


def import_version(
    source: Annotated[
        str, typer.Argument(help=f"An archive, or `{BENTOML}TAG` for one in BentoML's store.")
    ],
    *,
    name: Annotated[str | None, typer.Option(help="File it under another name.")] = None,
    promote: Promote = None,
) -> None:
    """Take in a version that `rightly models export` wrote, after checking and trying it."""
    from models import trying

    registry = opened()
    if source.startswith(BENTOML):
        from services.versions.bento_models import import_bento_model

        settings.stop_usage_reports()
        found = import_bento_model(registry, source.removeprefix(BENTOML), name=name)
    else:
        found = registry.import_archive(Path(source), name=name, check=trying.check)
    filed(registry, found, promote=promote, reason=f"imported from {source}")


def filed(registry: Registry, version: Version, *, promote: bool | None, reason: str) -> None:
    """Say that a version was filed, and promote it where that was asked or nothing answers yet."""
    name, number = version.ref.name, version.ref.version
    terminal.say(f"[bold]{name}[/] version {number}  {version.ref.digest}")
    warn(version)
    wanted = registry.pointer(name).version is None if promote is None else promote
    if wanted:
        from services.commands import moving

        with moving.mover(settings.load()) as mover:
            mover.promote(name, number, reason=reason, actor=actor(), now=clock.now())
        terminal.say(f"{name} version {number} answers")
    else:
        terminal.say(f'let it answer: rightly models promote {name} {number} --reason "…"')


def warn(version: Version) -> None:
    """Say what whoever relies on the version must know."""
    for each in version.card.warnings:
        terminal.say(f"[bold yellow]mind:[/] {each}")


def actor() -> str:
    """Return who uses the command line, for the history."""
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise RegistryError("the history needs a name: this process's user has none") from error
