"""The page to try any version on any image, beside another one."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from models import samples
from models.registry import Version
from services.console import layout
from services.routes.depending import Connected, refusals
from services.wiring import Serving

router = APIRouter(tags=["pages"])
_SHOWN = 24  # samples


@dataclass(frozen=True, slots=True)
class SampleView:
    """One sample as the page names it.

    Attributes:
        image: Address of the image.
        region: Address of the region; None where nobody marked one.
        label: True class.
    """

    image: str
    region: str | None
    label: str


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be chosen for one model.

    Attributes:
        name: The model's name.
        versions: Numbers, newest first.
        champion: The number that answers; None before the first promotion.
        first: The version that is chosen at first.
        second: The version beside it; None for none.
        classes: Labels.
        explainers: Names of explainers.
        samples: Images to pick from.
    """

    name: str
    versions: list[int]
    champion: int | None
    first: int
    second: int | None
    classes: tuple[str, ...]
    explainers: tuple[str, ...]
    samples: list[SampleView]


@router.get(
    "/try", summary="Try a version", response_class=HTMLResponse, responses=refusals(404, 409, 422)
)
def try_page(
    serving: Connected,
    model: Annotated[str | None, Query(max_length=200, description="Default: the first.")] = None,
    version: Annotated[int | None, Query(ge=1, description="Default: the champion.")] = None,
    beside: Annotated[int | None, Query(ge=1, description="Default: none.")] = None,
) -> HTMLResponse:
    """Drop an image, see what a version answers and which part of the image it goes by."""
    names = [name for name in serving.registry.models() if serving.registry.versions(name)]
    default = serving.champions.default(serving.settings)
    name = model or (default if default in names else next(iter(names), None))
    chosen = None if name is None else choices(serving, name, version, beside)
    return layout.page("try.html", here="/try", models=names, chosen=chosen)


def choices(serving: Serving, name: str, version: int | None, beside: int | None) -> Choices:
    """Return what the page offers for a model.

    Raises:
        UnknownModelError: If there is no such model or version.
    """
    known = serving.registry.versions(name)
    champion = serving.registry.pointer(name).version
    numbers = [each.ref.version for each in reversed(known)]
    first = serving.registry.version(name, version or champion or (numbers or [1])[0])
    explainers = {
        each.ref.version: serving.champions.current(name).session.explainers
        for each in serving.champions.in_service()
        if each.ref.name == name
    }
    return Choices(
        name=name,
        versions=numbers,
        champion=champion,
        first=first.ref.version,
        second=beside,
        classes=first.card.spec.classes,
        explainers=explainers.get(first.ref.version, tuple(layout.EXPLAINERS)),
        samples=_samples(first),
    )


def _samples(version: Version) -> list[SampleView]:
    folder = f"/v1/models/{version.ref.name}/versions/{version.ref.version}/samples"
    return [
        SampleView(
            image=f"{folder}/{number}/image.png",
            region=f"{folder}/{number}/region.png" if each.region else None,
            label=each.label,
        )
        for number, each in enumerate(samples.read(version.folder)[:_SHOWN])
    ]
