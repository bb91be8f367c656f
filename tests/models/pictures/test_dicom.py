import struct
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.errors import ImageError, TooLargeImageError, UnreadableImageError
from models.pictures.decoding import Limits, decode_image

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
        ({"Rows": 60_000, "Columns": 60_000}, TooLargeImageError),
    ],
)
def test_what_cannot_be_shown_is_refused(fields, error) -> None:
    with pytest.raises(error):
        decode_image(dicom(ramp(), **fields), LIMITS)


def test_files_deflated_as_a_whole_are_inflated_up_to_the_limit() -> None:
    content = dicom(ramp(), syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)
    bomb = dicom(
        ramp(),
        syntax=pydicom.uid.DeflatedExplicitVRLittleEndian,
        EncapsulatedDocument=bytes(5_000_000),
    )

    assert (decode_image(content, LIMITS) == decode_image(dicom(ramp()), LIMITS)).all()
    assert len(bomb) < 20_000
    with pytest.raises(TooLargeImageError, match="inflates"):
        decode_image(bomb, LIMITS)


WINDOW = {"WindowCenter": 2048, "WindowWidth": 1024}


def curve(function: str, values: np.ndarray) -> np.ndarray:
    """C.11.2.1.2 and C.11.2.1.3 as they are printed."""
    c, w = 2048, 1024
    y = {
        "LINEAR": (values - (c - 0.5)) / (w - 1) + 0.5,
        "LINEAR_EXACT": (values - c) / w + 0.5,
        "SIGMOID": 1 / (1 + np.exp(-4 * (values - c) / w)),
    }[function]
    return np.round(255 * np.clip(y, 0, 1))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_each_voi_lut_function_counts(function) -> None:
    decoded = decode_image(dicom(ramp(), VOILUTFunction=function, **WINDOW), LIMITS)

    assert curve(function, ramp().astype(float)) == pytest.approx(decoded[:, :, 0])


def lut(entries: np.ndarray, bits: int, first: int = 0) -> pydicom.sequence.Sequence:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return pydicom.sequence.Sequence([item])


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (8, np.uint16), (12, np.uint16)])
@pytest.mark.parametrize("window", [{}, WINDOW])
def test_a_voi_lut_counts_before_a_window(bits, kind, window) -> None:
    top = 2**bits - 1
    table = np.round(top * (np.arange(3000) / 2999) ** 3).astype(kind)
    decoded = decode_image(dicom(ramp(), VOILUTSequence=lut(table, bits, 100), **window), LIMITS)
    expected = np.round(255.0 * table[np.clip(ramp().astype(int) - 100, 0, 2999)] / top)

    assert expected == pytest.approx(decoded[:, :, 0])


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("MONOCHROME1", None), ("MONOCHROME2", "INVERSE"), ("MONOCHROME1", "INVERSE")],
)
def test_inverted_is_inverted_once(kind, shape) -> None:
    fields = {"PhotometricInterpretation": kind} | (
        {"PresentationLUTShape": shape} if shape else {}
    )
    decoded = decode_image(dicom(ramp(), **fields), LIMITS)

    assert np.round(255 - ramp() * (255 / 3960)) == pytest.approx(decoded[:, :, 0], abs=1)


@pytest.mark.parametrize(
    "padding",
    [{"PixelPaddingValue": 9000}, {"PixelPaddingValue": 8000, "PixelPaddingRangeLimit": 9000}],
)
def test_padding_is_no_part_of_the_range(padding) -> None:
    padded = ramp()
    padded[0] = 9000
    decoded = decode_image(dicom(padded, **padding), LIMITS)

    assert np.round((ramp()[1:] - 400) * (255 / 3560)) == pytest.approx(decoded[1:, :, 0], abs=1)


def test_bits_that_are_not_used_do_not_count() -> None:
    fields = {"BitsStored": 12, "HighBit": 11, **WINDOW}
    dirty = dicom(ramp() | np.uint16(0xF000), **fields)

    assert (decode_image(dirty, LIMITS) == decode_image(dicom(ramp(), **fields), LIMITS)).all()


def test_windows_and_slopes_of_an_enhanced_file_are_found() -> None:
    value, voi, shared = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    value.RescaleSlope, value.RescaleIntercept = 2, -1000
    voi.WindowCenter, voi.WindowWidth = 1500, 801
    shared.PixelValueTransformationSequence, shared.FrameVOILUTSequence = [value], [voi]
    plain = {f"Rescale{k}": v for k, v in (("Slope", 2), ("Intercept", -1000))}
    plain |= {"WindowCenter": 1500, "WindowWidth": 801}
    enhanced = dicom(ramp(), SharedFunctionalGroupsSequence=[shared], NumberOfFrames=1)

    assert (decode_image(enhanced, LIMITS) == decode_image(dicom(ramp(), **plain), LIMITS)).all()


def test_a_file_without_a_preamble_is_known_by_its_first_element() -> None:
    content = dicom(ramp())

    assert (decode_image(content[132:], LIMITS) == decode_image(content, LIMITS)).all()


def compressed(frame: bytes, syntax: str) -> bytes:
    whole = pydicom.encaps.encapsulate([frame])
    return dicom(ramp().astype(np.uint8), syntax=syntax, PixelData=whole)


def test_a_frame_that_is_larger_than_its_file_says_is_not_decoded() -> None:
    target = BytesIO()
    Image.new("L", (9000, 9000)).save(target, "JPEG")

    with pytest.raises(UnreadableImageError, match="9000x9000"):
        decode_image(compressed(target.getvalue(), pydicom.uid.JPEGBaseline8Bit), LIMITS)


def test_run_lengths_that_unfold_to_more_than_the_picture_are_not_decoded() -> None:
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * 900_000  # 128 bytes by each two

    with pytest.raises(UnreadableImageError, match="run lengths"):
        decode_image(compressed(frame, pydicom.uid.RLELossless), LIMITS)


def rendered(dataset: pydicom.Dataset) -> np.ndarray:
    """What pydicom itself shows, brought to 8 bits."""
    processing = pydicom.pixels.processing
    values = dataset.pixel_array
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        colours = processing.apply_color_lut(values, dataset).astype(float)
        return colours / (257 if colours.max() > 255 else 1)
    if dataset.SamplesPerPixel == 3:
        return values * (255 / (2**dataset.BitsStored - 1))
    modal = processing.apply_modality_lut(values, dataset).astype(float)
    if "WindowWidth" in dataset:
        shown = processing.apply_voi_lut(modal, dataset)
        signed = bool(dataset.PixelRepresentation)
        low, high = -(2 ** (dataset.BitsStored - 1)), 2 ** (dataset.BitsStored - 1) - 1
        ends = np.array([low, high] if signed else [0, 2**dataset.BitsStored - 1], float)
        ends = processing.apply_modality_lut(ends, dataset)
    else:
        shown, kept = modal, modal[values != dataset.get("PixelPaddingValue", 1 << 40)]
        ends = np.array([kept.min(), kept.max()])
    grey = np.clip((shown - ends[0]) / max(ends[1] - ends[0], 1e-9), 0, 1) * 255
    return 255 - grey if dataset.PhotometricInterpretation == "MONOCHROME1" else grey


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_picture_among_pydicoms_own_files_is_shown_as_pydicom_shows_it() -> None:
    """Its files of one frame that it can decode here; what it cannot is refused, no accident."""
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    answered, refused = [], []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        try:
            dataset = pydicom.dcmread(path, force=True)
            if int(dataset.get("NumberOfFrames") or 1) != 1 or "PixelData" not in dataset:
                continue
            expected = rendered(dataset)
        except Exception:  # noqa: BLE001 - whatever pydicom stumbles over
            with pytest.raises(ImageError):
                decode_image(path.read_bytes(), Limits())
            refused.append(path.name)
            continue
        decoded = decode_image(path.read_bytes(), Limits())
        expected = expected if expected.ndim == 3 else expected[:, :, None]
        assert abs(decoded - np.round(expected)).max() <= 1, path.name
        answered.append(path.name)

    assert len(answered) >= 70, (answered, refused)


def test_damaged_files_are_refused() -> None:
    with pytest.raises(UnreadableImageError):
        decode_image(bytes(128) + b"DICM" + bytes(range(256)), LIMITS)
