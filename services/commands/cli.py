"""The command line: `rightly up | serve | predict | samples | export | models …`.

Each verb is named with its function in `services.commands`; only the one that is asked for is
imported, so that `rightly --help` answers at once.
"""

from importlib import metadata
from typing import Annotated

import typer

from services.commands import lazily

VERBS = {
    "up": "up:up",
    "serve": "serving:serve",
    "predict": "asking:predict",
    "samples": "asking:samples",
    "export": "exporting:export",
    "train": "learning:train",
    "evaluate": "learning:evaluate",
    "compare": "learning:compare",
    "plant": "planting:plant",
    "drill": "auditing:drill",
    "attach-segmenter": "attaching:attach_segmenter",
    "template-region": "attaching:template_region",
    "work": "retraining:work",
    "retrain": "retraining:retrain",
    "promote": "versions:promote",
    "rollback": "versions:rollback",
    "report": "reporting:report",
    "doctor": "doctor:doctor",
    "install": "doctor:install",
}
MODELS_VERBS = {
    "list": "versions:list_models",
    "show": "versions:show",
    "add": "making:add",
    "import": "versions:import_version",
    "export": "versions:export_version",
    "adopt": "adopting:adopt",
    "convert": "making:convert",
    "verify": "versions:verify",
    "promote": "versions:promote",
    "rollback": "versions:rollback",
}
AUDIT_VERBS = {
    "status": "auditing:status",
    "lineage": "auditing:lineage",
    "verify": "auditing:verify",
    "accept": "auditing:accept",
    "export": "auditing:export",
    "erase": "auditing:erase",
    "requests": "auditing:requests",
    "shortcuts": "suspecting:shortcuts",
}
KEYS_VERBS = {
    "add": "keys:add",
    "list": "keys:list_keys",
    "revoke": "keys:revoke",
}
RETRAININGS_VERBS = {
    "list": "retraining:list_retrainings",
    "logs": "retraining:logs",
    "approve": "retraining:approve",
    "cancel": "retraining:cancel",
}
CANARY_VERBS = {
    "status": "rollouts:status",
    "withdraw": "rollouts:withdraw",
}
_GROUPS = {
    "models": ("What is in the registry, and which version answers.", MODELS_VERBS),
    "audit": ("What was answered: check it, hand it out, erase it.", AUDIT_VERBS),
    "keys": ("API keys: who may do what.", KEYS_VERBS),
    "retrainings": (
        "From a request to a promoted model: follow, approve, cancel.",
        RETRAININGS_VERBS,
    ),
    "canary": (
        "A candidate on trial with live requests: `rightly promote --canary` begins one.",
        CANARY_VERBS,
    ),
}
GROUPS = {name: lazily.LazyGroup.of(name, *each) for name, each in _GROUPS.items()}

app = typer.Typer(
    name="rightly",
    cls=lazily.root(VERBS, GROUPS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(asked: bool) -> None:  # noqa: FBT001 - typer hands it over by position
    if asked:
        typer.echo(f"rightly {metadata.version('rightly')}")
        raise typer.Exit


@app.callback()
def rightly(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and end.",
            callback=_tell_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Serve image classifiers with the reason for each answer."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
