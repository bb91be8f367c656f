"""A request's body → what it asks; multipart and JSON carry the same names.

Files arrive as file parts, as base64, or as the body itself, never as an address: nothing is
fetched for a client.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from services.answering.answerer import Question
from services.contract.predictions import ImageRequest, Options, PredictionRequest
from services.errors import (
    InvalidFieldsError,
    MalformedError,
    RequestError,
    TooLargeError,
    UnsupportedMediaError,
)
from services.routes import parts
from services.routes.parts import TEXT
from services.routes.texts import decoded

MULTIPART, JSON = "multipart/form-data", "application/json"
# A body that is the picture; some scripts name no type at all.
_RAW = {"application/dicom", "application/octet-stream", ""}
_FILES = ("image", "region")
_Read = TypeVar("_Read")


async def asked(
    request: Request,
    most_images: int,
    *,
    said: Callable[[str], str | None] = str,
    body: type[PredictionRequest | ImageRequest] = PredictionRequest,
) -> Callable[[], Question]:
    """Read the body and return what gives the question, to be called in a thread that may compute.

    Args:
        request: With a body in one of the two media types, or with a picture as its body and the
            options in the query.
        most_images: More are refused.
        said: What a text field of a form says; None where it says nothing.
        body: What a JSON body must be.

    Raises:
        UnsupportedMediaError: If the body is of another type, or a file was sent as text.
        MalformedError: If it is not what its type says.
        RequestError: If a field is missing, unknown or wrong.
        TooLargeError: If there are more images.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        content = await request.body()
        return lambda: question_of_json(content, most_images, body)
    if kind in _RAW or kind.startswith("image/"):
        picture, pairs = await request.body(), request.query_params.multi_items()
        if not kind and not picture:
            raise UnsupportedMediaError(f"send {MULTIPART}, {JSON}, or the picture itself")
        return lambda: question_of_picture(picture, pairs, said)
    if kind != MULTIPART:
        raise UnsupportedMediaError(
            f"send {MULTIPART}, {JSON}, or the picture itself as image/…, not {kind[:80]!r}"
        )
    # A little more than is meant, so that one image too many is told apart from a flood of parts.
    most_files, most_fields = 2 * most_images + 8, 2 * len(Options.model_fields)
    try:
        async with parts.form_of(
            request, _FILES, max_files=most_files, max_fields=most_fields
        ) as form:
            found = await question_of_form(form, most_images, said)
    except (HTTPException, MultiPartException, AssertionError, UnicodeError) as error:
        reason = getattr(error, "detail", "") or getattr(error, "message", "") or str(error)
        raise MalformedError(f"the form cannot be read: {reason}") from error
    return lambda: found


async def question_of_form(
    form: FormData, most_images: int, said: Callable[[str], str | None] = str
) -> Question:
    """Return what a form asks; arguments and errors as in `asked`."""
    options: dict[str, str] = {}
    files: dict[str, list[bytes]] = {name: [] for name in _FILES}
    for name, value in form.multi_items():
        if name in _FILES:
            content = await file_content(name, value)
            # A browser sends a field for a file that nobody chose, without name and content.
            if content or (isinstance(value, UploadFile) and value.filename):
                files[name].append(content)
        elif isinstance(value, UploadFile):
            raise RequestError(f"{name[:80]!r} is no field for a file")
        elif name in options:
            raise RequestError(f"{name[:80]!r} is given twice")
        elif (text := said(value)) is not None:
            options[name] = text
    chosen = _checked(lambda: Options.model_validate(options))
    return question(files["image"], files["region"], chosen, most_images)


def question_of_picture(
    content: bytes, pairs: Sequence[tuple[str, str]], said: Callable[[str], str | None] = str
) -> Question:
    """Return what a body that is a picture asks, with options from the query.

    Raises:
        RequestError: If there is no picture, or an option is unknown, wrong or given twice.
    """
    options: dict[str, str] = {}
    for name, value in pairs:
        if name in options:
            raise RequestError(f"{name[:80]!r} is given twice")
        if (text := said(value)) is not None:
            options[name] = text
    chosen = _checked(lambda: Options.model_validate(options))
    return question([content] if content else [], [], chosen, 1)


def question_of_json(
    content: bytes,
    most_images: int,
    body: type[PredictionRequest | ImageRequest] = PredictionRequest,
) -> Question:
    """Return what a JSON body asks; arguments and errors as in `asked`."""
    wish = _checked(lambda: body.model_validate_json(content))
    images = [wish.image] if isinstance(wish.image, str) else wish.image
    regions = [wish.region] if isinstance(wish.region, str) else wish.region or []
    return question(
        [decoded("image", each) for each in images],
        [None if each is None else decoded("region", each) for each in regions],
        Options.model_validate(wish.model_dump(exclude=set(_FILES))),
        most_images,
    )


def question(
    images: Sequence[bytes], regions: Sequence[bytes | None], options: Options, most: int
) -> Question:
    """Return the question, once the numbers of images and regions are right.

    Raises:
        TooLargeError: If there are more than `most` images.
        RequestError: If there is no image, or there are regions but not one per image.
    """
    if not images:
        raise RequestError("image is missing")
    if len(images) > most:
        raise TooLargeError(f"{len(images)} images; at most {most} in one request")
    if regions and len(regions) != len(images):
        raise RequestError(f"{len(regions)} regions for {len(images)} images; send one per image")
    return Question(images, regions or [None] * len(images), options)


async def file_content(name: str, part: UploadFile | str) -> bytes:
    """Return the bytes of a file part, or those that a text field spells in base64.

    Raises:
        UnsupportedMediaError: If it is other text: an address would have to be fetched, and is
            not.
    """
    content = await part.read() if isinstance(part, UploadFile) else part.encode()
    if getattr(part, "filename", TEXT) != TEXT or not content.isascii() or not content:
        return content
    try:
        return decoded(name, content)
    except RequestError as error:
        raise UnsupportedMediaError(
            f"send {name} as a file part or in base64; other text or an address is not read"
        ) from error


def _checked(read: Callable[[], _Read]) -> _Read:
    try:
        return read()
    except ValidationError as error:
        raise InvalidFieldsError(error.errors(include_input=False, include_url=False)) from error
