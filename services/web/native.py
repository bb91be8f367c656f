"""`POST /predict` as BentoML sees it: the same body as elsewhere, read by our own parser.

BentoML's parsers fetch an address that stands where a file should (a way into the network behind
the server), open images by the content type that the client claims, and ignore fields that they
do not know. So the type of the body reads the request itself; BentoML keeps the schema, for its
clients, and the route, for its metrics.
"""

import json
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from _bentoml_sdk.io_models import IOMixin
from pydantic import BaseModel, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from services import wiring
from services.answering.answerer import Question
from services.contract.predictions import ImageRequest, Options
from services.errors import EXPECTED, answer
from services.routes import forms
from services.wiring import Serving

File = Annotated[bytes, WithJsonSchema({"type": "file", "format": "binary"})]
Asked = Callable[[], Question]


class Received(BaseModel):
    """What BentoML hands to the method."""

    asked: Any
    """Returns the question, or raises why there is none; of type `Asked`."""


class ImageForm(IOMixin, Options):  # type: ignore[misc]  # BentoML is untyped
    """One image, and what to answer about it."""

    multipart_fields: ClassVar[list[str]] = ["image", "region"]

    image: File
    """The image, as a file or as base64."""
    region: File | None = None
    """Where evidence is expected: a PNG of the image's size, non-zero where relevant."""

    @classmethod
    async def from_http_request(cls, request: Request, _: object) -> Received:
        """Read the body without BentoML's parsers."""
        try:
            return Received(asked=await forms.asked(request, 1, said=said, body=ImageRequest))
        except EXPECTED as error:
            return Received(asked=_raising(error))


async def predict(serving: Serving, asked: Asked) -> Response:
    """Answer one image with the default model."""
    model = serving.champions.default(serving.settings)
    try:
        answers = await wiring.answers(serving, model, asked)
    except EXPECTED as error:
        return answer(error)
    return Response(answers[0].model_dump_json(), media_type=forms.JSON)


def said(text: str) -> str | None:
    """Return what a text field says: BentoML's clients send JSON, others plain text."""
    if text == "null":
        return None
    try:
        value = json.loads(text) if text.startswith('"') else text
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _raising(error: Exception) -> Asked:
    def ask() -> Question:
        raise error

    return ask
