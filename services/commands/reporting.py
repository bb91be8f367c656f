"""`rightly report`: a page about a model for people who were not there."""

from pathlib import Path
from typing import Annotated

import typer

from services import clock, settings
from services.commands import auditing, terminal, versions


def report(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    *,
    to: Annotated[Path, typer.Option(help="The HTML file to write; print it for a PDF.")],
) -> None:
    """Write what a model is, what speaks for its reasons and what was decided, as one page.

    Its digest goes into the audit trail.
    """
    from services.retraining import rows
    from services.routes import reports

    chosen, now, registry = settings.load(), clock.now(), versions.opened()
    registry.versions(model)
    retrainings = rows.connect(chosen.retraining_store)
    try:
        with auditing.store(chosen).connected() as connection:
            page = reports.page_of(
                chosen,
                registry,
                retrainings,
                model,
                connection=connection,
                now=now,
                watched=auditing.is_watched(chosen),
            )
    finally:
        retrainings.engine.dispose()
    to.write_text(page, "utf-8")
    noting = auditing.recorder(chosen)
    try:
        noting.note([reports.made(model, page, actor=versions.actor(), now=now)])
    finally:
        noting.close()
    terminal.say(f"{to}: {len(page.encode()) // 1000} kB, its digest is in the trail")
