"""A thousand hostile requests from one seed: bodies that break parsers, decoders and limits."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from tests.served import form

SIZES = ((1, 1), (1, 5000), (16, 16), (64, 48), (300, 200))


@dataclass(frozen=True)
class Attack:
    """One request.

    Attributes:
        name: Of the kind of attack.
        kind: Content type.
        body: As sent.
    """

    name: str
    kind: str
    body: bytes


def attacks(count: int, seed: int) -> Iterator[Attack]:
    """Yield that many attacks, every kind in turn."""
    random = np.random.default_rng(seed)
    for number in range(count):
        name, make = KINDS[number % len(KINDS)]
        made = make(random)
        if isinstance(made, bytes):
            yield by_form(name, made) if number // len(KINDS) % 2 else by_json(name, made)
        else:
            yield Attack(name, *made)


def by_form(name: str, image: bytes) -> Attack:
    body, kind = form(("image", image))
    return Attack(name, kind, body)


def by_json(name: str, image: bytes) -> Attack:
    body = json.dumps({"image": base64.b64encode(image).decode()})
    return Attack(name, "application/json", body.encode())


def encoded(image: Image.Image, form_of_file: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, form_of_file, **options)
    return target.getvalue()


def noise(random, mode="RGB") -> Image.Image:
    height, width = SIZES[random.integers(len(SIZES))]
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    pixels = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels, mode=mode)


def a_format(random) -> str:
    return ("PNG", "JPEG", "WEBP", "TIFF")[random.integers(4)]


def truncated(random) -> bytes:
    whole = encoded(noise(random), a_format(random))
    return whole[: random.integers(1, len(whole))]


def damaged(random) -> bytes:
    whole = bytearray(encoded(noise(random), a_format(random)))
    for spot in random.integers(4, len(whole), size=random.integers(1, 40)):
        whole[int(spot)] = int(random.integers(256))
    return bytes(whole)


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


@cache
def zeros(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def pixel_bomb(random) -> bytes:
    side = int(random.integers(1_100, 60_000))
    header = struct.pack(">IIBBBBB", side, side, 8, int(random.choice([0, 2, 6])), 0, 0, 0)
    content = chunk(b"IDAT", zeros(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + content + chunk(b"IEND", b"")


def text_bomb(random) -> bytes:
    plain = encoded(noise(random), "PNG")
    kind, head = ((b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0"))[
        random.integers(3)
    ]
    return plain[:33] + chunk(kind, head + zeros(30_000_000)) + plain[33:]


def tiff_bomb(random) -> bytes:
    """A directory that claims a huge picture, or values beyond the end of the file."""
    side = int(random.integers(2_000, 2**31))
    tags = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    tags += [(273, 4, int(random.integers(1, 2**31)), 8), (278, 4, 1, side), (279, 4, 1, 10)]
    body = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + body + struct.pack("<I", 8)


def polyglot(random) -> bytes:
    tail = (b"PK\x03\x04", b"<script>alert(1)</script>", b"%PDF-1.7", b"MZ\x90")[
        random.integers(4)
    ]
    return encoded(noise(random), a_format(random)) + tail * int(random.integers(1, 999))


def animated(random) -> bytes:
    frames = [noise(random).resize((40, 40)) for _ in range(3)]
    kind = ("PNG", "WEBP", "TIFF", "GIF")[random.integers(4)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def other_format(random) -> bytes:
    return (
        encoded(noise(random), ("GIF", "BMP", "PPM", "ICO", "TGA")[random.integers(5)]),
        b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://localhost/'/></svg>",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\nshowpage",
        b"%PDF-1.7\n",
        bytes(128) + b"DICM" + random.bytes(200),
    )[random.integers(5)]


def junk(random) -> bytes:
    head = (b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF0000WEBP", b"II*\0", b"MM\0*")
    return head[random.integers(len(head))] + random.bytes(random.integers(0, 5000))


def deep(random) -> bytes:
    values = random.integers(0, 65536, (20, 30)).astype(np.uint16)
    return encoded(Image.fromarray(values), ("PNG", "TIFF")[random.integers(2)])


def cmyk(random) -> bytes:
    return encoded(noise(random, "CMYK"), ("JPEG", "TIFF")[random.integers(2)])


def turned(random) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = int(random.integers(0, 12))
    raw = exif.tobytes() if random.integers(2) else b"Exif\0\0" + random.bytes(60)
    return encoded(noise(random), ("JPEG", "PNG", "WEBP")[random.integers(3)], exif=raw)


def flat(random) -> bytes:
    """Far larger than the limit when decoded, tiny as a file, and entirely valid."""
    side = int(random.integers(1_001, 3_000))
    return encoded(Image.new("1", (side, 1000)), "PNG")


def huge(random) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + bytes(int(random.integers(1_900_000, 2_500_000)))


def junk_json(random) -> tuple[str, bytes]:
    bodies = (
        b"",
        b"{",
        b"[" * 50_000,
        b'{"image":' * 5_000,
        b"\xff\xfe\x00",
        b'{"image": 1e999}',
        b'{"image": null}',
        b'{"image": {"$ref": "file:///etc/passwd"}}',
        b'{"image": "file:///etc/passwd"}',
        b'{"image": "http://127.0.0.1:3000/"}',
        b'{"image": "%s"}' % (b"A" * int(random.integers(1, 5000))),
        b'{"image": "iVBORw0KGgo=", "top_k": 99999999999999999999999}',
        b'{"image": "iVBORw0KGgo=", "__proto__": {}}',
        b'{"image": ["iVBORw0KGgo=", 5]}',
        b'"' + b"\\ud800" * 100 + b'"',
        random.bytes(500),
    )
    return "application/json", bodies[random.integers(len(bodies))]


def junk_form(random) -> tuple[str, bytes]:
    body, kind = form(("image", random.bytes(300)), ("target", "x" * int(random.integers(0, 400))))
    bodies = (
        (kind, body[: random.integers(len(body))]),
        (kind, random.bytes(400)),
        (kind, b""),
        (kind, body + random.bytes(3000)),
        ("multipart/form-data", body),
        ("multipart/form-data; boundary=", body),
        ("multipart/form-data; boundary=" + "b" * 300, body),
        (kind, body.replace(b'name="image"', b'name="image\x00\r\n"')),
        (kind, body.replace(b'name="image"', b'name="image"; name="region"')),
        form(*[("image", b"x")] * 200)[::-1],
        form(*[("target", "x")] * 200)[::-1],
        form(*[(f"field{number}", "x") for number in range(50)])[::-1],
        form(("image", "http://169.254.169.254/latest/meta-data/"))[::-1],
        form(("image", "x" * 1_500_000))[::-1],
    )
    return bodies[random.integers(len(bodies))]


def wrong_type(random) -> tuple[str, bytes]:
    kinds = (
        "",
        "text/plain",
        "image/png",
        "application/octet-stream",
        "application/x-www-form-urlencoded",
        "application/vnd.bentoml+pickle",
        "application/json; charset=utf-16",
        "application/xml",
        "multipart/mixed; boundary=x",
        "\xff",
    )
    return kinds[random.integers(len(kinds))], random.bytes(int(random.integers(0, 500)))


def hostile_region(random) -> tuple[str, bytes]:
    image = encoded(noise(random), "PNG")
    region = (truncated, damaged, pixel_bomb, junk, deep, animated)[random.integers(6)](random)
    return form(("image", image), ("region", region))[::-1]


KINDS: tuple[tuple[str, Callable], ...] = tuple(
    (each.__name__, each)
    for each in (
        truncated,
        damaged,
        pixel_bomb,
        text_bomb,
        tiff_bomb,
        polyglot,
        animated,
        other_format,
        junk,
        deep,
        cmyk,
        turned,
        flat,
        huge,
        junk_json,
        junk_form,
        wrong_type,
        hostile_region,
    )
)
