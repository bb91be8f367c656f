"""Multipart bodies as browsers, libraries and scripts write them.

Beyond what the framework reads: a file whose name is written as `filename*` (RFC 6266), a file
part without the name of its field, and a picture's part without the name of a file.
"""

from collections.abc import Sequence
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TEXT = ""  # the file name of what came without one: it may be text
_UNNAMED = "unnamed"


class Parts(MultiPartParser):
    """The framework's parser, which takes more parts for files.

    Args:
        files: Names of fields that are files however they are written; a file without the name of
            a field is the first one's.
    """

    files: Sequence[str] = ()

    def on_headers_finished(self) -> None:
        """Complete the part's headers before the framework looks at them."""
        part = self._current_part
        given = part.content_disposition or b"form-data"
        _, options = parse_options_header(given)
        kind = dict(part.item_headers).get(b"content-type", b"").strip().lower()
        named = b"filename" in options or b"filename*" in given.lower()
        file = named or (kind and not kind.startswith(b"text/"))
        if b"name" not in options and file and self.files:
            given += f'; name="{self.files[0]}"'.encode()
        ours = options.get(b"name", b"").decode("latin-1") in self.files
        if b"filename" not in options and (file or ours):
            name = _UNNAMED if file else TEXT
            given += f'; filename="{name}"'.encode()
        part.content_disposition = given
        super().on_headers_finished()


@asynccontextmanager
async def form_of(
    request: Request, files: Sequence[str], *, max_files: int, max_fields: int
) -> "AsyncIterator[FormData]":
    """Read a multipart body; its files are closed at the end of the block.

    Args:
        request: With the body.
        files: Names of the fields that hold files.
        max_files: More are refused.
        max_fields: Likewise.

    Raises:
        MultiPartException: If the body is not what its type says.
    """
    async with aclosing(request.stream()) as stream:
        parser = Parts(request.headers, stream, max_files=max_files, max_fields=max_fields)
        parser.files = tuple(files)
        form = await parser.parse()
    try:
        yield form
    finally:
        await form.close()
