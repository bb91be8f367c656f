"""One picture, spelled as browsers and scripts spell it; each spelling is the same answer."""

import base64
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from services.errors import RequestError
from services.pictures.png import compressed
from services.routes import texts
from tests import graphs
from tests.guarded import Site, site
from tests.served import MODEL

PLACE = f"/v1/models/{MODEL}/predictions"
RED = compressed(graphs.patch("red"))
TEXT = base64.b64encode(RED).decode()
WRAPPED = "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as made:
        yield made


def is_red(answer) -> bool:
    assert answer.status_code == 200, answer.text
    return answer.json()["predictions"][0]["classes"][0]["label"] == "red"


@pytest.mark.parametrize("kind", ["image/png", "image/*", "application/octet-stream", None])
def test_the_body_may_be_the_picture(place: Site, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    answer = place.ask("POST", f"{PLACE}?top_k=1&explainer=lrp", content=RED, headers=headers)

    assert is_red(answer)
    assert len(answer.json()["predictions"][0]["classes"]) == 1
    assert answer.json()["predictions"][0]["explanation"]["explainer"] == "lrp"


@pytest.mark.parametrize(
    ("query", "content", "status", "words"),
    [
        ("?top_k=0", RED, 422, "top_k"),
        ("?top=1", RED, 422, "top"),
        ("?top_k=1&top_k=2", RED, 422, "twice"),
        ("", b"", 422, "image is missing"),
        ("", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", 415, "HEIC"),
    ],
)
def test_such_a_body_is_refused_with_the_reason(place, query, content, status, words) -> None:
    answer = place.ask("POST", PLACE + query, content=content, headers={"content-type": "image/x"})

    assert status == answer.status_code
    assert words in answer.json()["detail"]


def test_other_types_are_told_what_is_read(place: Site) -> None:
    answer = place.ask("POST", PLACE, data={"image": "x"})

    assert answer.status_code == 415
    assert "picture itself" in answer.json()["detail"]


SPELLINGS = [
    TEXT,
    TEXT.rstrip("="),
    TEXT.replace("+", "-").replace("/", "_"),
    WRAPPED,
    f"{WRAPPED}\n",
    f"data:image/png;base64,{TEXT}",
    f"DATA:image/png;name=a.png;base64,{WRAPPED}",
    f"data:image/png;base64,{quote(TEXT, safe='')}",
    f"data:image/png,{quote(RED)}",
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_each_spelling_of_base64_is_read(place: Site, text: str) -> None:
    assert is_red(place.ask("POST", PLACE, json={"image": text}))


@pytest.mark.parametrize(
    "text", ["aGVsbG8", "aGVs\nbG8=", "aGVsbG8=", "data:;base64,aGVsbG8", "data:,hello"]
)
def test_bytes_come_out(text: str) -> None:
    assert texts.decoded("image", text) == b"hello"


@pytest.mark.parametrize("text", ["aGVsbG8==", "a", "äöü", "http://x/a.png", "data:image/png"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        texts.decoded("image", text)


def multipart(*heads: str, content: bytes = RED) -> tuple[bytes, dict[str, str]]:
    """A body of one part with these header lines, written out."""
    lines = b"".join(f"{each}\r\n".encode() for each in heads)
    body = b"--edge\r\n" + lines + b"\r\n" + content + b"\r\n--edge--\r\n"
    return body, {"content-type": "multipart/form-data; boundary=edge"}


@pytest.mark.parametrize(
    "heads",
    [
        ['Content-Disposition: form-data; name="image"; filename="a.png"'],
        ["Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''%C3%A4.png"],
        ['Content-Disposition: form-data; name="image"', "Content-Type: image/png"],
        ['Content-Disposition: form-data; name="image"'],
        ['Content-Disposition: form-data; filename="a.png"'],
        ["Content-Disposition: form-data; filename*=UTF-8''a.png"],
        ["Content-Type: image/png"],
    ],
)
def test_a_file_part_may_lack_names(place: Site, heads: list[str]) -> None:
    body, headers = multipart(*heads)

    assert is_red(place.ask("POST", PLACE, content=body, headers=headers))


@pytest.mark.parametrize("text", SPELLINGS[:6])
def test_a_text_field_may_be_base64(place: Site, text: str) -> None:
    body, headers = multipart(
        'Content-Disposition: form-data; name="image"', content=text.encode()
    )

    assert is_red(place.ask("POST", PLACE, content=body, headers=headers))


@pytest.mark.parametrize("text", [b"http://localhost/a.png", b"file:///etc/passwd", b"a b!"])
def test_a_text_field_with_an_address_is_not_read(place: Site, text: bytes) -> None:
    body, headers = multipart('Content-Disposition: form-data; name="image"', content=text)
    answer = place.ask("POST", PLACE, content=body, headers=headers)

    assert answer.status_code == 415
    assert "address" in answer.json()["detail"]


def test_a_file_field_that_nobody_filled_in_does_not_count(place: Site) -> None:
    files = [("image", ("a.png", RED)), ("region", ("", b"", "application/octet-stream"))]
    edge = b"--edge\r\n"
    parts = b"".join(
        edge
        + f'Content-Disposition: form-data; name="{name}"; filename="{each[0]}"\r\n'.encode()
        + b"Content-Type: application/octet-stream\r\n\r\n"
        + each[1]
        + b"\r\n"
        for name, each in files
    )
    answer = place.ask(
        "POST",
        PLACE,
        content=parts + b"--edge--\r\n",
        headers={"content-type": "multipart/form-data; boundary=edge"},
    )

    assert is_red(answer)
    assert answer.json()["predictions"][0]["audit"] is None
