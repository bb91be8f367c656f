from io import BytesIO

import numpy as np
import pytest

from services.errors import TooLargeError, UnreadableImageError, UnsupportedMediaError
from services.pictures.decoding import Limits, decode_image

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")
LIMITS = Limits(max_bytes=2_000_000, max_pixels=10_000)


def dicom(values: np.ndarray, **fields: object) -> bytes:
    """A small computed-radiography file, written by pydicom."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = fields.pop("syntax", pydicom.uid.ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1", "1.2.3"
    dataset.PatientName = "Somebody^Private"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 1 if values.ndim == 2 else 3
    if values.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = values.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = values.tobytes()
    for name, value in fields.items():
        setattr(dataset, name, value)
    target = BytesIO()
    pydicom.dcmwrite(target, dataset, enforce_file_format=True)
    return target.getvalue()


def ramp() -> np.ndarray:
    return np.arange(0, 4000, 40, dtype=np.uint16).reshape(10, 10)


def test_without_a_window_the_whole_range_is_shown() -> None:
    decoded = decode_image(dicom(ramp()), LIMITS)

    assert np.round(ramp() * (255 / 3960)) == pytest.approx(decoded[:, :, 1])


def test_monochrome1_is_inverted() -> None:
    plain, inverted = (
        decode_image(dicom(ramp(), PhotometricInterpretation=kind), LIMITS).astype(int)
        for kind in ("MONOCHROME2", "MONOCHROME1")
    )

    assert abs(plain + inverted - 255).max() <= 1


def test_the_files_window_and_slope_are_applied() -> None:
    """PS3.3 C.11.2.1.2.1 as it is printed, after x = 2 v - 1000."""
    fields = {
        "RescaleSlope": 2,
        "RescaleIntercept": -1000,
        "WindowCenter": 1500,
        "WindowWidth": 801,
    }
    x = ramp().astype(float) * 2 - 1000
    y = ((x - (1500 - 0.5)) / (801 - 1) + 0.5) * 255
    expected = np.where(x <= 1500 - 0.5 - 400, 0, np.where(x > 1500 - 0.5 + 400, 255, y))

    assert expected == pytest.approx(
        decode_image(dicom(ramp(), **fields), LIMITS)[:, :, 0], abs=0.51
    )


def test_colour_stays_as_it_is() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    decoded = decode_image(dicom(colours, PhotometricInterpretation="RGB"), LIMITS)

    assert (colours == decoded).all()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"NumberOfFrames": 3}, UnreadableImageError),
        ({"PhotometricInterpretation": "YBR_FULL"}, UnreadableImageError),
        ({"PixelData": b"short!"}, UnreadableImageError),
        ({"Rows": 60_000, "Columns": 60_000}, TooLargeError),
    ],
)
def test_what_cannot_be_shown_is_refused(fields, error) -> None:
    with pytest.raises(error):
        decode_image(dicom(ramp(), **fields), LIMITS)


def test_files_deflated_as_a_whole_are_refused() -> None:
    content = dicom(ramp(), syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)

    with pytest.raises(UnsupportedMediaError, match="deflated"):
        decode_image(content, LIMITS)


def test_damaged_files_are_refused() -> None:
    with pytest.raises(UnreadableImageError):
        decode_image(bytes(128) + b"DICM" + bytes(range(256)), LIMITS)
