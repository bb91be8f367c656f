"""The command line: `rightly up | serve | predict | samples | export | models …`."""

from collections.abc import Callable

import typer

from services.commands import (
    asking,
    attaching,
    auditing,
    keys,
    learning,
    making,
    planting,
    retraining,
    rollouts,
    serving,
    suspecting,
    up,
    versions,
)
from services.commands.terminal import ReadableGroup

app = typer.Typer(
    name="rightly",
    help="Serve image classifiers with the reason for each answer.",
    cls=ReadableGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models = typer.Typer(
    help="What is in the registry, and which version answers.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
audit = typer.Typer(
    help="What was answered: check it, hand it out, erase it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
access = typer.Typer(
    help="API keys: who may do what.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
retrainings = typer.Typer(
    help="From a request to a promoted model: follow, approve, cancel.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

canary = typer.Typer(
    help="A candidate on trial with live requests: `rightly promote --canary` begins one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

VERBS: dict[str, Callable[..., None]] = {
    "up": up.up,
    "serve": serving.serve,
    "predict": asking.predict,
    "samples": asking.samples,
    "export": making.export,
    "train": learning.train,
    "evaluate": learning.evaluate,
    "compare": learning.compare,
    "plant": planting.plant,
    "drill": auditing.drill,
    "attach-segmenter": attaching.attach_segmenter,
    "template-region": attaching.template_region,
    "work": retraining.work,
    "retrain": retraining.retrain,
    "promote": versions.promote,
    "rollback": versions.rollback,
}
MODELS_VERBS: dict[str, Callable[..., None]] = {
    "list": versions.list_models,
    "show": versions.show,
    "add": making.add,
    "import": versions.import_version,
    "export": versions.export_version,
    "convert": making.convert,
    "verify": versions.verify,
    "promote": versions.promote,
    "rollback": versions.rollback,
}
AUDIT_VERBS: dict[str, Callable[..., None]] = {
    "status": auditing.status,
    "lineage": auditing.lineage,
    "verify": auditing.verify,
    "export": auditing.export,
    "erase": auditing.erase,
    "requests": auditing.requests,
    "shortcuts": suspecting.shortcuts,
}
KEYS_VERBS: dict[str, Callable[..., None]] = {
    "add": keys.add,
    "list": keys.list_keys,
    "revoke": keys.revoke,
}
RETRAININGS_VERBS: dict[str, Callable[..., None]] = {
    "list": retraining.list_retrainings,
    "logs": retraining.logs,
    "approve": retraining.approve,
    "cancel": retraining.cancel,
}
CANARY_VERBS: dict[str, Callable[..., None]] = {
    "status": rollouts.status,
    "withdraw": rollouts.withdraw,
}
for name, verb in VERBS.items():
    app.command(name)(verb)
for name, verb in MODELS_VERBS.items():
    models.command(name)(verb)
app.add_typer(models, name="models")
for name, verb in AUDIT_VERBS.items():
    audit.command(name)(verb)
app.add_typer(audit, name="audit")
for name, verb in KEYS_VERBS.items():
    access.command(name)(verb)
app.add_typer(access, name="keys")
for name, verb in RETRAININGS_VERBS.items():
    retrainings.command(name)(verb)
app.add_typer(retrainings, name="retrainings")
for name, verb in CANARY_VERBS.items():
    canary.command(name)(verb)
app.add_typer(canary, name="canary")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
