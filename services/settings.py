"""The only module that reads the environment and `rightly.toml`.

A setting comes from the environment (`RIGHTLY_PORT`), else from the file (`port = 3000`), else
from the default below. The file is the one that `RIGHTLY_CONFIG` names, else `rightly.toml` in the
working directory where it exists. A name that no setting has is an error, so that a typing mistake
does not pass in silence.
"""

import os
import tomllib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

PREFIX = "RIGHTLY_"
FILE = "rightly.toml"
EMBEDDED = "digits"  # the small model that `rightly up` trains where there is none
_TRAINING_NAMES = {"PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR"}
# Read by others: the file's place by `load`, the folder of test images by the tests.
_NOT_SETTINGS = {"CONFIG", "DATA"}


class SettingsError(Exception):
    """A setting is unknown or has a value that cannot be used; the message names it."""


class Settings(BaseModel):
    """Everything that can be chosen without changing code."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True
    )

    home: Path = Path("var")
    """Folder for everything that Rightly writes, unless a setting below says otherwise."""
    registry: Path = Field(default_factory=lambda known: known["home"] / "registry")
    """Folder of the models and their versions. Default: `registry` in `home`."""
    journal: Path = Field(default_factory=lambda known: known["home"] / "journal")
    """Folder of the append-only journal of answers. Default: `journal` in `home`."""
    images: Path = Field(default_factory=lambda known: known["home"] / "images")
    """Folder of the recorded images. Default: `images` in `home`."""
    store: str = Field(default_factory=lambda known: f"sqlite:///{known['home'] / 'audit.db'}")
    """SQLAlchemy URL of the audit store. Default: `audit.db` in `home`."""
    recording: Literal["strict", "async", "off"] = "strict"
    """strict: answered only after it is written down; async: written soon after; off: not
    recorded."""
    durability: Literal["fsync", "group", "os"] = "group"
    """When a journal entry counts as written: each one synced, synced in groups, or left to the
    system."""

    host: str = "127.0.0.1"
    """Address to listen on. One that others reach needs `sign_in`, or `open_without_sign_in`."""
    port: int = Field(default=3000, ge=1, le=65535)
    """Port to listen on."""
    workers: int = Field(default=1, ge=1, le=256)
    """Serving processes. One per container; each loads its own sessions."""
    threads: int = Field(default=0, ge=0, le=256)
    """ONNX Runtime threads within one inference; 0: the processor's cores divided by `workers`."""
    concurrency: int = Field(default=2, ge=1, le=256)
    """Requests that one worker decodes and computes at the same time."""
    queue: int = Field(default=64, ge=1, le=10_000)
    """Requests that one worker accepts at the same time, computing or waiting; more are answered
    429."""
    deadline_seconds: float = Field(default=10.0, gt=0, le=600)
    """Longest time from a request's last byte to its answer; later it is answered 503."""
    body_seconds: float = Field(default=30.0, gt=0, le=600)
    """Longest time that a client may take to send its request; later it is answered 408."""
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    """Where ONNX Runtime computes; anything but auto fails at the start where it is not
    available."""
    sign_in: Literal["none", "keys", "oidc"] = "none"
    """none: a single user on loopback; keys: API keys (`rightly keys add`) for programs and pages;
    oidc: pages through a provider of OpenID Connect, programs by API key."""
    open_without_sign_in: bool = False
    """Listen on an address that others reach without sign-in: where a proxy checks them, or
    nothing but this machine reaches a container's port."""
    open_predictions: bool = True
    """Whether predictions may be asked for without a key; false: they need the role client."""
    keys: Path = Field(default_factory=lambda known: known["home"] / "keys.json")
    """File of the API keys' names, roles and digests. Default: `keys.json` in `home`."""
    session_key: Path = Field(default_factory=lambda known: known["home"] / "session.key")
    """File with the secret that signs sessions, made when missing; new content signs everybody
    out. Default: `session.key` in `home`."""
    ended_sessions: Path = Field(default_factory=lambda known: known["home"] / "ended-sessions")
    """Folder that remembers who signed out. Default: `ended-sessions` in `home`."""
    session_hours: float = Field(default=12.0, gt=0, le=8_760)
    """How long a browser stays signed in."""
    public_url: str = Field(default="", pattern=r"^(https?://[^/\s]+)?$")
    """Address by which browsers reach this server, without a path: `https://rightly.example`. With
    https, cookies travel over nothing else."""
    hosts: str = ""
    """Further names by which this server is asked, separated by commas. On loopback its own names
    and that of `public_url` count; elsewhere names are checked where one of the two is set."""
    trusted_proxies: str = ""
    """Addresses of proxies, separated by commas, whose `X-Forwarded-For` says who asks. Nobody
    else's does."""
    oidc_issuer: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Address of the provider of OpenID Connect, as its document calls itself."""
    oidc_client_id: str = Field(default="", max_length=400)
    """What the provider calls this server. It must allow `/sign-in/callback` of `public_url`."""
    oidc_client_secret: str = Field(default="", max_length=400, repr=False)
    """The secret that goes with it; empty for a public client."""
    oidc_scopes: str = "openid profile email"
    """What is asked of the provider, with openid among it."""
    oidc_name_claim: str = "email"
    """The claim that names a person in the audit trail; one that people cannot change."""
    oidc_role_claim: str = "groups"
    """The claim from which the role follows: one word or a list."""
    oidc_roles: str = ""
    """Which role a word of that claim gives: `radiologists=reviewer, leads=approver`."""
    default_model: str = ""
    """The model behind `POST /predict`. Default: the only model there is, else `digits`."""
    poll_seconds: float = Field(default=0.5, gt=0, le=60)
    """How often a worker looks whether a champion pointer has moved."""
    max_body_bytes: int = Field(default=20_000_000, ge=1_000, le=1_000_000_000)
    """Largest request body."""
    max_pixels: int = Field(default=25_000_000, ge=1_000, le=250_000_000)
    """Largest image, in pixels, read from its header before anything is decoded."""
    max_images: int = Field(default=32, ge=1, le=1_000)
    """Most images in one request."""
    max_request_pixels: int = Field(default=100_000_000, ge=1_000)
    """Most pixels of all images of one request together, read from their headers."""
    max_pixels_at_once: int = Field(default=200_000_000, ge=1_000)
    """Most pixels that one worker decodes at a time; a request beyond them is answered 429."""

    anchors: Path = Field(default_factory=lambda known: known["home"] / "anchors")
    """Folder where the audit trail's head is published. Default: `anchors` in `home`; better where
    whoever can change the store cannot write."""
    chain_key: Path = Field(default_factory=lambda known: known["home"] / "chain.key")
    """File with the secret that seals the audit trail, made when missing. Default: `chain.key` in
    `home`."""
    auditor: bool = True
    """Whether `rightly up` and `rightly serve` run the auditor beside the gateway."""
    audit_host: str = "127.0.0.1"
    """Address of the auditor's metrics."""
    audit_port: int = Field(default=3001, ge=0, le=65535)
    """Port of the auditor's metrics; 0 for none."""
    audit_seconds: float = Field(default=0.2, gt=0, le=60)
    """How long the auditor sleeps when there is nothing to ingest."""
    webhook_token: str = Field(default="", max_length=400, repr=False)
    """Bearer token that Alertmanager must send; without one the webhook is closed."""
    log: Literal["text", "json"] = "text"
    """How processes log: lines for people, or one JSON object a line, with trace and prediction
    ids."""
    traces: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Address of a collector of OpenTelemetry's that takes OTLP over HTTP, for example
    `http://localhost:4318`. Without one nothing is sent."""
    notify: str = Field(default="", max_length=4_000, repr=False)
    """Addresses that are told of alarms, refusals and promotions, with blanks between them, as
    Apprise writes them: `json://host/path` (a webhook), `slack://…`, `mailto://…`."""
    false_alarm_days: float = Field(default=30.0, gt=0, le=36_500)
    """Wanted mean days between false alarms of all detectors of a model together. Three times as
    many find a fall of 0.10 about ten answers of its class later (docs/decisions/0009)."""
    records_per_day: float = Field(default=1_000.0, gt=0, le=1e9)
    """Audited answers per day and model; with the days it sets the threshold of the detectors."""
    tolerance: float = Field(default=0.02, gt=0, lt=1)
    """Smallest fall of a measure that is worth an alarm."""
    probe_share: float = Field(default=0.05, ge=0, le=1)
    """Share of the answers with a region and an image whose reliance on the rest is probed."""
    probe_answers: int = Field(default=36, ge=9, le=36)
    """Most answers of the model that looking for the part which carries a probed answer may cost,
    besides four for filling, blurring and swapping all of the rest. 36 tries every part; fewer
    find a cue later or not at all, and never raise an alarm for it."""
    segment_share: float = Field(default=0.2, ge=0, le=1)
    """Share of the answers without a region of their own that an attached segmenter sees."""
    drill_hours: float = Field(default=24.0, ge=0, le=8760)
    """Hours between the fire drills that the auditor holds of each champion; 0 for none."""
    suspect_every: int = Field(default=100, ge=0, le=1_000_000)
    """New answers of a class after which its heatmaps are grouped in search of shortcuts; 0: only
    on request."""
    suspect_answers: int = Field(default=400, ge=20, le=2000)
    """The latest answers of a class that are grouped."""
    policy_requests: int = Field(default=4, ge=0, le=10_000)
    """Retrainings of a model within 30 days beyond which alarms and webhooks ask for none; 0: only
    people ask."""
    runner: bool = True
    """Whether `rightly serve` and `up` start the runner of retrainings beside the gateway, where
    what training needs is installed."""
    retrainings: Path = Field(default_factory=lambda known: known["home"] / "retrainings")
    """Folder of data, checkpoints and logs of retrainings, on a local disk. Default:
    `retrainings` in `home`."""
    retraining_store: str = Field(
        default_factory=lambda known: f"sqlite:///{known['home'] / 'retrainings.db'}"
    )
    """SQLAlchemy URL of the record of retrainings. Default: `retrainings.db` in `home`."""
    workflow_store: str = Field(
        default_factory=lambda known: f"sqlite:///{known['home'] / 'workflows.db'}"
    )
    """SQLAlchemy URL of the durable steps' own database. Default: `workflows.db` in `home`."""
    change_control: Path | None = None
    """The change-control plan: what a retraining may change. Default: the one that comes along."""
    training_seconds: float = Field(default=21_600.0, gt=0, le=2_592_000)
    """Longest time of one training attempt."""
    stall_seconds: float = Field(default=3_600.0, ge=0, le=2_592_000)
    """Longest time that a training may take for one epoch; after it the attempt is ended. 0 for no
    limit."""
    stall_retries: int = Field(default=1, ge=0, le=10)
    """How often an attempt that did not move is followed by another, from its last checkpoint."""
    spare_bytes: int = Field(default=500_000_000, ge=0)
    """Disk and memory that must stay free beside a training; one that does not fit is refused."""
    trainings: int = Field(default=1, ge=1, le=64)
    """Retrainings, each of another model, that learn at the same time; others wait by priority."""
    launcher: Literal["local", "ray"] = "local"
    """Where trainings run: on this machine, or on a Ray cluster."""
    ray_address: str = "http://127.0.0.1:8265"
    """Address of the Ray cluster's dashboard. Its nodes see the folder `retrainings` at the same
    place and run the same code."""
    ray_token: str = Field(default="", max_length=4_000, repr=False)
    """Bearer token of the Ray cluster (its RAY_AUTH_TOKEN)."""
    keep_images_days: int = Field(default=30, ge=0, le=36_500)
    """Days that recorded images are kept."""
    keep_evidence_days: int = Field(default=365, ge=0, le=36_500)
    """Days that heatmaps, regions, embeddings and probabilities are kept."""
    keep_events_days: int = Field(default=0, ge=0, le=36_500)
    """Days that all other events are kept, at least 183; 0 for ever."""

    def default_among(self, names: Collection[str]) -> str:
        """Return the model that is meant where none is named, given the models there are."""
        return self.default_model or (next(iter(names)) if len(names) == 1 else EMBEDDED)


def role_mapping(text: str) -> dict[str, str]:
    """Return the pairs of `oidc_roles`.

    Raises:
        SettingsError: If it is not written as pairs.

    Examples:
        >>> role_mapping("staff=viewer, leads=approver")
        {'staff': 'viewer', 'leads': 'approver'}
    """
    found = {}
    for pair in filter(None, (each.strip() for each in text.split(","))):
        word, sign, role = pair.rpartition("=")
        if not sign or not word.strip():
            raise SettingsError(f"oidc_roles: {pair!r} is not written as word=role")
        found[word.strip()] = role.strip()
    return found


def load(environ: Mapping[str, str] | None = None, file: Path | None = None) -> Settings:
    """Read the settings.

    Args:
        environ: Environment variables; the process's own when None.
        file: A TOML file that must exist; None for the one that `RIGHTLY_CONFIG` names, else
            `rightly.toml` in the working directory where it exists.

    Raises:
        SettingsError: If a name is unknown, a value cannot be used, or the file cannot be read.
    """
    environ = os.environ if environ is None else environ
    named = environ.get(PREFIX + "CONFIG")
    file = file or (Path(named) if named else None)
    written = _read(file) if file else _read(Path(FILE)) if Path(FILE).is_file() else {}
    spoken = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _NOT_SETTINGS
    }
    try:
        return Settings.model_validate(written | spoken)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_sentence, error.errors()))) from error


def environment(settings: Settings) -> dict[str, str]:
    """Return the variables from which `load` makes the same settings in a child process."""
    return as_variables(settings.model_dump())


def as_variables(values: Mapping[str, object]) -> dict[str, str]:
    """Return settings by name as the environment variables that `load` reads them from."""
    return {PREFIX + name.upper(): str(each) for name, each in values.items() if each is not None}


def serving_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a child that serves: ours, these settings, BentoML kept at home.

    Paths are absolute, so that the child may run in another folder. BentoML sends usage reports
    unless its variable is exactly "True".
    """
    values = {
        name: value.absolute() if isinstance(value, Path) else value
        for name, value in settings.model_dump().items()
    }
    for name in ("store", "retraining_store", "workflow_store"):
        values[name] = _absolute_url(str(values[name]))
    kept = {name: value for name, value in os.environ.items() if name != PREFIX + "CONFIG"}
    bentoml = {"BENTOML_HOME": str(values["home"] / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    # The server library would believe anybody on this machine.
    proxies = {"FORWARDED_ALLOW_IPS": settings.trusted_proxies}
    return kept | as_variables(values) | bentoml | proxies


def stop_usage_reports() -> None:
    """Keep BentoML in this process from sending usage reports."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"


def inherited() -> dict[str, str]:
    """Return a copy of this process's environment, for starting a child."""
    return dict(os.environ)


def training_environment() -> dict[str, str]:
    """Return the environment of a training process: no settings, no secrets, one thread.

    It is written to the attempt's folder, so only what a program needs to run goes in.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _TRAINING_NAMES or name.startswith("CUDA_")
    }
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    return kept | threads


def metrics_folder(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return where the workers' Prometheus series meet; None where there is one process only."""
    folder = (os.environ if environ is None else environ).get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def _absolute_url(store: str) -> str:
    """Return the store's URL with an absolute path where it is a file of SQLite's."""
    scheme = "sqlite:///"
    path = store.removeprefix(scheme)
    is_file = store.startswith(scheme) and path and not path.startswith((":", "file:"))
    return scheme + str(Path(path).absolute()) if is_file else store


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file} cannot be read as settings: {error}") from error


def _sentence(problem: Mapping[str, object]) -> str:
    where = problem["loc"]
    name = str(where[0]) if isinstance(where, tuple) and where else "settings"
    if problem["type"] != "extra_forbidden":
        return f"{name}: {problem['msg']}"
    close = get_close_matches(name, Settings.model_fields, n=1)
    hint = f", did you mean {close[0]}?" if close else ""
    return f"{name} is not a setting{hint} (environment: {PREFIX}{name.upper()})"
