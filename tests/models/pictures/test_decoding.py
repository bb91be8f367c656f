"""Each kind of picture against the pixels it must give; hostile bytes against the refusals."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from models.errors import (
    ImageError,
    RegionRefusedError,
    TooLargeImageError,
    UnreadableImageError,
    UnsupportedImageError,
)
from models.pictures.decoding import Limits, decode_image, size_of
from models.pictures.regions import decode_region

LIMITS = Limits(max_bytes=2_000_000, max_pixels=1_000_000)


def photo(height: int = 40, width: int = 60, channels: int = 3) -> np.ndarray:
    """A smooth picture, so that lossy formats keep it."""
    y, x = np.mgrid[:height, :width]
    planes = [128 + 100 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(channels)]
    return np.stack(planes, axis=2).astype(np.uint8)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    target = BytesIO()
    image.save(target, form, **options)
    return target.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png_header(
    width: int, height: int, content: bytes = b"", depth: int = 8, colour: int = 0
) -> bytes:
    """A PNG that claims its size without holding it."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("form", "options", "worst"),
    [
        ("PNG", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("JPEG", {"quality": 95}, 12),
        ("JPEG", {"quality": 95, "progressive": True}, 12),
    ],
)
def test_each_format_gives_its_pixels(form, options, worst) -> None:
    content = encoded(Image.fromarray(photo()), form, **options)
    difference = decode_image(content, LIMITS).astype(int) - photo()

    assert abs(difference).max() <= worst


def test_grey_is_repeated() -> None:
    grey = photo(channels=1)[:, :, 0]
    decoded = decode_image(encoded(Image.fromarray(grey), "PNG"), LIMITS)

    assert (decoded == grey[:, :, None]).all()


def test_black_and_white_spans_the_range() -> None:
    bits = Image.fromarray(np.eye(8, dtype=bool))

    assert {0, 255} == set(decode_image(encoded(bits, "PNG"), LIMITS).ravel().tolist())


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_from_their_full_range(form) -> None:
    deep = np.linspace(0, 65_535, 600).astype(np.uint16).reshape(20, 30)
    decoded = decode_image(encoded(Image.fromarray(deep), form), LIMITS)

    assert np.round(deep / 257) == pytest.approx(decoded[:, :, 0], abs=1)


def test_sixteen_bit_colour_keeps_the_high_byte() -> None:
    rows = b"".join(b"\0" + struct.pack(">HHH", 0xFFFF, 0x8000, 0x0100) * 3 for _ in range(2))
    content = png_header(3, 2, zlib.compress(rows), depth=16, colour=2)

    assert [255, 128, 1] == decode_image(content, LIMITS)[1, 2].tolist()


def test_transparent_pixels_show_white() -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 3] = 255
    decoded = decode_image(encoded(Image.fromarray(rgba), "PNG"), LIMITS)

    assert (decoded[:2] == 0).all()
    assert (decoded[2:] == 255).all()


def test_palettes_give_their_colours_and_their_transparency() -> None:
    image = Image.fromarray(np.arange(4, dtype=np.uint8).reshape(2, 2), mode="L")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 1, 2, 3])
    plain = decode_image(encoded(image, "PNG"), LIMITS)
    clear = decode_image(encoded(image, "PNG", transparency=1), LIMITS)

    assert [40, 50, 60] == plain[0, 1].tolist()
    assert [255, 255, 255] == clear[0, 1].tolist()
    assert [70, 80, 90] == clear[1, 0].tolist()


def test_cmyk_becomes_rgb() -> None:
    """A full cyan plate leaves no red."""
    plates = np.zeros((16, 16, 4), np.uint8)
    plates[:, :, 0] = 255
    decoded = decode_image(encoded(Image.fromarray(plates, mode="CMYK"), "JPEG"), LIMITS)

    assert decoded[8, 8] == pytest.approx([0, 255, 255], abs=4)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(form, orientation) -> None:
    """The turns written out by the EXIF table: where row 0 and column 0 of the file are shown."""
    upright = photo()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(stored)), form, exif=exif)
    decoded = decode_image(content, LIMITS)

    assert upright.shape == decoded.shape
    assert abs(decoded.astype(int) - upright).mean() < 8


def test_a_phones_second_picture_in_a_jpeg_does_not_count() -> None:
    """Multi-picture JPEGs hold a gain map or a depth picture behind the main one."""
    main, other = Image.fromarray(photo()), Image.fromarray(photo()[::-1])
    content = encoded(main, "MPO", save_all=True, append_images=[other], quality=95)

    assert abs(decode_image(content, LIMITS).astype(int) - photo()).max() <= 12


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_animations_and_stacks_are_refused(form) -> None:
    frames = [Image.fromarray(photo() // (k + 1)) for k in range(3)]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])

    with pytest.raises(UnreadableImageError, match="several frames"):
        decode_image(content, LIMITS)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "JPEG"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(form, share) -> None:
    content = encoded(Image.fromarray(photo(300, 300)), form)

    with pytest.raises((UnreadableImageError, UnsupportedImageError)):
        decode_image(content[: int(len(content) * share)], LIMITS)


def test_the_header_is_checked_before_anything_is_decoded() -> None:
    """The content is a valid stream of far too many zeros; decoding it would take seconds."""
    bomb = png_header(60_000, 60_000, zlib.compress(bytes(1_000_000)))

    with pytest.raises(TooLargeImageError):
        decode_image(bomb, LIMITS)


def test_a_side_of_two_billion_pixels_is_refused() -> None:
    with pytest.raises((TooLargeImageError, UnreadableImageError)):
        decode_image(png_header(2**31 - 1, 2**31 - 1), LIMITS)


def test_text_that_inflates_is_refused() -> None:
    text = b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9)
    plain = encoded(Image.fromarray(photo()), "PNG")
    bomb = plain[:33] + chunk(b"zTXt", text) + plain[33:]

    with pytest.raises(UnreadableImageError):
        decode_image(bomb, LIMITS)


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(TooLargeImageError, match="at most 2000000"):
        decode_image(b"\x89PNG" + bytes(2_000_000), LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x1f\x8b" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"http://169.254.169.254/latest/meta-data/",
        b"%PDF-1.7",
        b"PK\x03\x04",
    ],
)
def test_other_formats_are_not_tried(content) -> None:
    with pytest.raises(UnsupportedImageError):
        decode_image(content, LIMITS)


def test_float_pixels_are_refused() -> None:
    content = encoded(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF")

    with pytest.raises(UnreadableImageError, match="no known range"):
        decode_image(content, LIMITS)


# Pillow warns of damage before it refuses; how is its own affair.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_damaged_files_are_read_or_refused_never_an_accident(form) -> None:
    """Seeded damage of four kinds: flipped bytes, cuts, insertions, and shuffled blocks."""
    random = np.random.default_rng(7)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    content = encoded(Image.fromarray(photo(64, 64)), form, exif=exif)
    outcomes = {"read": 0, "refused": 0}
    for number in range(1500):
        bad = bytearray(content)
        spots = random.integers(8, len(bad), size=1 + number % 6)
        if number % 4 == 0:
            bad[8:] = bad[8 : int(spots[0])]
        elif number % 4 == 1:
            bad[int(spots[0]) : int(spots[0])] = random.bytes(1 + number % 50)
        else:
            for spot in spots:
                bad[int(spot)] = int(random.integers(256))
        try:
            outcomes["read"] += decode_image(bytes(bad), LIMITS).ndim == 3
        except ImageError:
            outcomes["refused"] += 1

    assert sum(outcomes.values()) == 1500
    assert outcomes["refused"] > 300


def region_png(region: np.ndarray, mode: str = "L") -> bytes:
    image = Image.fromarray(region.astype(np.uint8) * 255)
    return encoded(image.convert(mode), "PNG")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P"])
def test_a_region_is_whatever_is_not_zero(mode) -> None:
    region = np.zeros((30, 40), bool)
    region[3:9, 20:33] = True

    assert (region == decode_region(region_png(region, mode), (30, 40), LIMITS)).all()


def test_a_region_of_ones_counts() -> None:
    ones = np.zeros((5, 5), np.uint8)
    ones[1] = 1

    assert (ones > 0).tolist() == decode_region(
        encoded(Image.fromarray(ones), "PNG"), (5, 5), LIMITS
    ).tolist()


def canvas(ink: tuple[int, ...], ground: tuple[int, ...], mode: str = "RGBA") -> bytes:
    """A square of one colour, drawn on a ground of another."""
    image = Image.new(mode, (8, 8), ground)
    image.paste(ink, (2, 3, 5, 6))
    return encoded(image, "PNG")


@pytest.mark.parametrize(
    ("ink", "ground", "mode"),
    [
        ((255, 0, 0, 255), (255, 255, 255, 0), "RGBA"),
        ((255, 255, 255, 255), (0, 0, 0, 0), "RGBA"),
        ((0, 0, 0, 255), (0, 0, 0, 0), "RGBA"),
        ((0, 0, 0, 255), (255, 255, 255, 0), "RGBA"),
        ((0, 0, 0, 90), (255, 255, 255, 0), "RGBA"),
        ((1, 0, 0, 255), (0, 0, 0, 255), "RGBA"),
        ((255, 255, 255, 0), (0, 0, 0, 0), "RGBA"),
        ((200, 255), (255, 0), "LA"),
        ((0, 255), (255, 0), "LA"),
        ((1, 0, 0), (0, 0, 0), "RGB"),
    ],
)
def test_a_mask_in_the_alpha_channel_is_read(ink, ground, mode) -> None:
    square = np.zeros((8, 8), bool)
    square[3:6, 2:5] = True

    assert (square == decode_region(canvas(ink, ground, mode), (8, 8), LIMITS)).all()


def test_a_mask_is_turned_as_its_orientation_says() -> None:
    stored = np.zeros((6, 9), np.uint8)
    stored[0, :2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored top is the right of what is shown
    region = decode_region(encoded(Image.fromarray(stored), "PNG", exif=exif), (9, 6), LIMITS)

    assert [[0, 5], [1, 5]] == np.argwhere(region).tolist()


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_a_region_of_everything_is_refused(mode) -> None:
    with pytest.raises(RegionRefusedError, match="marks every pixel"):
        decode_region(region_png(np.ones((5, 5)), mode), (5, 5), LIMITS)


@pytest.mark.parametrize(
    ("form", "options"), [("BMP", {}), ("GIF", {}), ("TIFF", {"big_tiff": 1})]
)
def test_further_formats_are_read(form, options) -> None:
    grey = photo(channels=1)[:, :, 0]
    decoded = decode_image(encoded(Image.fromarray(grey), form, **options), LIMITS)

    assert (decoded == grey[:, :, None]).all()


@pytest.mark.parametrize("orientation", [1, 6, 3])
def test_avif_is_read_where_pillow_can(orientation) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    upright = photo()
    stored = np.ascontiguousarray(
        {1: upright, 3: upright[::-1, ::-1], 6: np.rot90(upright)}[orientation]
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(stored), "AVIF", quality=100, exif=exif)

    assert abs(decode_image(content, LIMITS).astype(int) - upright).max() <= 12


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200), "HEIC"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(200), "HEIC"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42" + bytes(200), "video"),
        (b"%PDF-1.7", "PDF"),
        (b"\xff\x4f\xff\x51" + bytes(200), "JPEG 2000"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"", "empty"),
    ],
)
def test_what_is_not_read_is_called_by_its_name(content, name) -> None:
    with pytest.raises(UnsupportedImageError, match=name):
        decode_image(content, LIMITS)


def test_grey_tiffs_of_which_white_is_zero_and_of_twelve_bits() -> None:
    deep = np.linspace(0, 4095, 600).astype(np.uint16).reshape(20, 30)
    whole = encoded(Image.fromarray(deep * 16), "TIFF", tiffinfo={262: 0})

    assert np.round(255 - deep * 16 / 257) == pytest.approx(
        decode_image(whole, LIMITS)[:, :, 0], abs=1
    )


def test_the_size_is_told_by_the_header_alone() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    whole = encoded(Image.fromarray(photo(300, 200)), "JPEG", exif=exif)

    assert size_of(whole[: len(whole) // 2], LIMITS) == (200, 300)


def test_a_region_of_another_size_is_refused() -> None:
    with pytest.raises(RegionRefusedError, match="40x30 pixels, its image 30x40"):
        decode_region(region_png(np.ones((30, 40))), (40, 30), LIMITS)


def test_an_empty_region_is_refused() -> None:
    with pytest.raises(RegionRefusedError, match="marks no pixel"):
        decode_region(region_png(np.zeros((5, 5))), (5, 5), LIMITS)


def test_a_region_that_is_no_png_is_refused() -> None:
    with pytest.raises(UnsupportedImageError):
        decode_region(encoded(Image.new("L", (5, 5)), "JPEG"), (5, 5), LIMITS)
