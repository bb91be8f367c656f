"""What a picture's first bytes announce."""

from typing import Final

from PIL import features

from models.errors import UnsupportedImageError

_READ: Final = "PNG, JPEG, WebP, TIFF, BMP, GIF, AVIF or DICOM"
_FIRST: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),  # BigTIFF
    (b"MM\x00+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
)
_HEIC: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1"}
_AVIF: Final = {b"avif", b"avis"}
# What people send that is not read: first bytes, and what to call it.
_NAMED: Final = (
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"%!PS", "PostScript"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x00\x00\x01\x00", "a Windows icon"),
)


def format_of(content: bytes) -> str:
    """Return Pillow's name of the format that the first bytes announce.

    Raises:
        UnsupportedImageError: If they announce none that is read here; what they are is said
            where it is known.
    """
    for first, name in _FIRST:
        if content.startswith(first):
            return name
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        return _of_brands(content)
    if not content:
        raise UnsupportedImageError(f"the file is empty; send a {_READ} file")
    name = next((name for first, name in _NAMED if content.startswith(first)), "")
    if not name and b"<svg" in content[:1000].lower():
        name = "an SVG drawing"
    said = f"{name} is not read; " if name else ""
    raise UnsupportedImageError(f"{said}send a {_READ} file; an address is not fetched")


def _of_brands(content: bytes) -> str:
    """Tell the pictures in an ISO container apart by its brands (ISO/IEC 14496-12, 4.3)."""
    length = min(int.from_bytes(content[:4], "big"), 256)
    listed = {content[8:12], *(content[at : at + 4] for at in range(16, length, 4))}
    if listed & _AVIF:
        if features.check("avif"):
            return "AVIF"
        raise UnsupportedImageError("AVIF needs a Pillow that is built with it; send a PNG")
    if listed & _HEIC:
        raise UnsupportedImageError(
            "HEIC pictures, as iPhones take them, are not read; save it as JPEG or PNG"
        )
    raise UnsupportedImageError(f"a video or another container is not read; send a {_READ} file")
