import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from models.pictures.decoding import Limits, decode_image
from services.pictures import png

SHAPES = [(1, 1), (7, 3), (28, 28), (224, 224)]


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    random = np.random.default_rng(height)
    return random.integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("write", [png.uncompressed, png.compressed])
def test_another_reader_finds_the_same_pixels(write, shape) -> None:
    pixels = noise(*shape)

    assert (np.asarray(Image.open(BytesIO(write(pixels)))) == pixels).all()


def test_recompressing_keeps_every_pixel_and_shrinks_the_file() -> None:
    pixels = np.repeat(noise(28, 28), 8, axis=0).repeat(8, axis=1)
    large = png.uncompressed(pixels)
    small = png.recompressed(large)

    assert len(small) < len(large) / 4
    assert (np.asarray(Image.open(BytesIO(small))) == pixels).all()


def test_chunks_are_laid_out_as_the_specification_says() -> None:
    """Section 5.3: length, type, content, and a CRC over type and content."""
    content = png.uncompressed(noise(2, 3))
    place, kinds = 8, []
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        body = content[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", content[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + body)
        kinds.append(kind)
        place += 12 + length

    assert [b"IHDR", b"IDAT", b"IEND"] == kinds


def test_transparency_is_kept() -> None:
    pixels = noise(5, 4, 4)

    assert (np.asarray(Image.open(BytesIO(png.compressed(pixels)))) == pixels).all()


@pytest.mark.parametrize("content", [b"", b"no picture", png.uncompressed(noise(9, 9))[:90]])
def test_what_is_no_readable_png_stays_as_it_is(content) -> None:
    assert png.recompressed(content) == content


def test_the_written_png_holds_nothing_but_pixels() -> None:
    """What is recorded was decoded first, so a second file hidden behind the picture is gone."""
    hidden = b"PK\x03\x04 <script>alert(1)</script>"
    pixels = noise(20, 30)
    written = png.uncompressed(decode_image(png.compressed(pixels) + hidden, Limits()))

    assert b"script" not in written
    assert (decode_image(written, Limits()) == pixels).all()
