"""What all pages share: templates, the policy that browsers enforce, how numbers are written."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache

from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from models.champion import Move
from services.access import principals
from services.access.principals import LOCAL, Principal, Role
from services.console import assets, sparks

# Nothing from elsewhere, no inline script or style, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data: blob:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-store",
}
# Label and address of what every page links to.
PLACES = (
    ("Overview", "/"),
    ("Try it", "/try"),
    ("Review", "/review"),
    ("Alarms", "/alarms"),
    ("Runs", "/runs"),
    ("Audit trail", "/trail"),
    ("API", "/docs"),
)
EXPLAINERS = {
    "gradcam": "Grad-CAM",
    "input_gradients": "Input gradients",
    "gradient_x_input": "Gradient × input",
    "smoothgrad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
    "lrp": "LRP",
}
# Measures as people call them.
MEASURES = {
    "activation_recall": "Activation Recall",
    "relevance_mass": "Relevance mass",
    "confidence": "Confidence",
    "flip": "Share of changed answers",
    "part_reliance": "Shortcut reliance",
    "directed_flip": "Answers that follow other surroundings",
    "strangeness": "Strangeness",
}
_KILO = 10_000


def page(template: str, *, here: str, **context: object) -> HTMLResponse:
    """Return a page.

    Args:
        template: Its file.
        here: Address among `PLACES` that it belongs to.
        context: What the template names.
    """
    made = environment().get_template(template).render(here=here, **context)
    return HTMLResponse(made, headers=HEADERS)


@cache
def environment() -> Environment:
    """Return the templates; everything put into them is escaped, unknown names are errors."""
    made = Environment(
        loader=PackageLoader("services.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        asset=assets.address,
        places=PLACES,
        explainers=EXPLAINERS,
        measures=MEASURES,
        sparks=sparks,
        who=who,
        may=may,
    )
    made.filters.update(
        count=count,
        day=day,
        moment=moment,
        run_of=run_of,
        second=second,
        share=share,
        signed=signed,
    )
    return made


def previous(history: Sequence[Move]) -> int | None:
    """Return the version that a rollback would make the champion; None where there is none."""
    standing: list[int] = []
    for move in history:
        if move.action == "promote":
            standing.append(move.version)
        elif standing:
            standing.pop()
    return standing[-2] if len(standing) > 1 else None


def who() -> Principal:
    """Return whoever looks at the page."""
    return principals.current() or LOCAL


def may(role: str) -> bool:
    """Whether whoever looks may do what this role is needed for: hide what would be refused."""
    return who().may(Role.named(role))


def share(value: float) -> str:
    """Return a number in [0, 1] as it is written in text."""
    return f"{value:.2f}"


def run_of(reason: str) -> str:
    """Return the retraining that a promotion's reason names; "" for a person's own words.

    Examples:
        >>> run_of("retraining 01M80KYJWWQKM47Y0ZVS4ZXQ25: an alarm")
        '01M80KYJWWQKM47Y0ZVS4ZXQ25'
    """
    found = re.match(r"retraining ([0-9A-HJKMNP-TV-Z]{26}): ", reason)
    return found[1] if found else ""


def signed(value: float) -> str:
    """Return a difference with its sign, three places, and a true minus.

    Examples:
        >>> signed(-0.02)
        '−0.020'
    """
    text = f"{value:+.3f}"
    return text.replace("-", "−") if float(text) else "0.000"


def count(number: int) -> str:
    """Return a count with thin spaces between groups of three digits from 10 000 on.

    Examples:
        >>> count(1234)
        '1234'
    """
    return str(number) if abs(number) < _KILO else f"{number:,}".replace(",", "\u202f")


def moment(at: str | datetime) -> str:
    """Return a moment to the minute, in UTC.

    Examples:
        >>> moment("2026-03-01T12:04:59.000000Z")
        '2026-03-01 12:04'
    """
    return _utc(at).strftime("%Y-%m-%d %H:%M")


def second(at: str | datetime) -> str:
    """Return a moment to the second, in UTC."""
    return _utc(at).strftime("%Y-%m-%d %H:%M:%S")


def day(at: str | datetime) -> str:
    """Return the day of a moment, in UTC."""
    return _utc(at).strftime("%Y-%m-%d")


def _utc(at: str | datetime) -> datetime:
    return (datetime.fromisoformat(at) if isinstance(at, str) else at).astimezone(UTC)
