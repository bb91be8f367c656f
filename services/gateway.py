"""The BentoML service: HTTP in, one answer with its reason out.

Serve it with `rightly serve`, or `bentoml serve services.gateway:Gateway`. Importing this module
loads no model: every process of the server imports it, and only the workers connect.
"""

import warnings
from typing import Any

import bentoml
from _bentoml_sdk import Service
from starlette.responses import Response

from services import clock, settings, wiring
from services.access.door import Door
from services.contract.predictions import Answer
from services.web import dressing, native, origins, rest
from services.web.guard import Bounds, Guard

SETTINGS = settings.load()
REST = rest.create()
# Only these reach BentoML; its index page, its document and its health routes are replaced.
NATIVE = frozenset({"/predict", "/metrics", "/schema.json"})


class Guarded(Service[Any]):  # type: ignore[misc]  # BentoML is untyped
    """A service whose outermost ASGI layer is the guard."""

    def to_asgi(self, is_main: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - BentoML's signature
        """Return the application that a worker runs."""
        application = super().to_asgi(is_main=is_main)
        if not is_main:
            return application
        bounds = Bounds(SETTINGS.max_body_bytes, SETTINGS.body_seconds, SETTINGS.queue)
        door = Door(SETTINGS, rest.routes(REST), NATIVE, clock.now)
        REST.state.door = door
        return Guard(
            application,
            NATIVE,
            REST,
            bounds,
            door=door,
            dress=dressing.dressed,
            welcome=origins.welcome(SETTINGS),
        )


@bentoml.service(
    name="rightly",
    service_class=Guarded,
    workers=SETTINGS.workers,
    threads=SETTINGS.concurrency,
    logging={"access": {"enabled": False}},
    # BentoML's own limits stand behind ours and must not strike first.
    traffic={"timeout": SETTINGS.deadline_seconds + SETTINGS.body_seconds + 30},
)
@bentoml.asgi_app(REST, path="/")
class Gateway:
    """Answers `POST /predict`; everything else is the mounted REST application's."""

    def __init__(self) -> None:
        # Damaged images make Pillow warn, in as many words as there are ways to damage one.
        warnings.filterwarnings("ignore", module="PIL")
        self._serving = wiring.connect(SETTINGS)
        rest.connect(REST, self._serving)

    @bentoml.api(route="/predict", input_spec=native.ImageForm, output_spec=Answer)  # type: ignore[untyped-decorator]  # as above
    async def predict(self, asked: native.Asked) -> Response:
        """Classify one image with the default model, and say why."""
        return await native.predict(self._serving, asked)
