"""One file is one picture, and one mask one region, whichever way it comes in."""

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image, features

from models import preprocessing
from models.errors import DatasetError, ImageError
from models.runtime import Session
from models.training import datasets, imports
from models.training.planting import Planting, plant
from services.commands.asking import read_image
from services.versions.scoring import read_set
from tests import graphs
from tests.guarded import Site, site
from tests.served import MODEL

PLACE = f"/v1/models/{MODEL}"
HEIGHT, WIDTH = 24, 36
SHAPE = graphs.spec().preprocessing


def photo() -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + 5 * x, 40 + 8 * y, 200 - 4 * x], axis=2).astype(np.uint8)


def encoded(image: Image.Image | np.ndarray, form: str, **options: object) -> bytes:
    target = BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(target, form, **options)
    return target.getvalue()


def turned(form: str, orientation: int) -> bytes:
    """The photo as a camera that was held sideways stores it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {6: np.rot90(photo()), 3: photo()[::-1, ::-1]}[orientation]
    return encoded(np.ascontiguousarray(stored), form, exif=exif)


def see_through() -> np.ndarray:
    alpha = np.where(np.arange(WIDTH) < 12, 0, 200).astype(np.uint8)
    return np.dstack([photo(), np.tile(alpha, (HEIGHT, 1))])


def dicom(**fields: object) -> bytes:
    pydicom = pytest.importorskip("pydicom", reason="pip install 'rightly[dicom]'")
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.Rows, data.Columns, data.SamplesPerPixel = HEIGHT, WIDTH, 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = (photo()[:, :, 0].astype(np.uint16) * 16).tobytes()
    for name, value in fields.items():
        setattr(data, name, value)
    target = BytesIO()
    pydicom.dcmwrite(target, data, enforce_file_format=True)
    return target.getvalue()


def deep() -> np.ndarray:
    return photo()[:, :, 0].astype(np.uint16) * 257


PICTURES = MappingProxyType(
    {
        "png": lambda: encoded(photo(), "PNG"),
        "jpeg": lambda: encoded(photo(), "JPEG"),
        "jpeg turned": lambda: turned("JPEG", 6),
        "png turned": lambda: turned("PNG", 6),
        "webp turned": lambda: turned("WEBP", 3),
        "tiff turned": lambda: turned("TIFF", 6),
        "avif turned": lambda: turned("AVIF", 6) if features.check("avif") else b"",
        "webp": lambda: encoded(photo(), "WEBP"),
        "bmp": lambda: encoded(photo(), "BMP"),
        "gif": lambda: encoded(photo(), "GIF"),
        "tiff": lambda: encoded(photo(), "TIFF"),
        "bigtiff": lambda: encoded(photo(), "TIFF", big_tiff=True),
        "see-through": lambda: encoded(see_through(), "PNG"),
        "see-through webp": lambda: encoded(see_through(), "WEBP"),
        "grey and alpha": lambda: encoded(np.ascontiguousarray(see_through()[:, :, 2:]), "PNG"),
        "palette": lambda: encoded(Image.fromarray(photo()).quantize(40), "PNG", transparency=3),
        "cmyk": lambda: encoded(Image.fromarray(photo()).convert("CMYK"), "JPEG"),
        "16 bit": lambda: encoded(deep(), "PNG"),
        "16 bit tiff": lambda: encoded(deep(), "TIFF"),
        "1 bit": lambda: encoded(Image.fromarray(photo()).convert("1"), "PNG"),
        "dicom": dicom,
        "dicom sigmoid": lambda: dicom(
            WindowCenter=1200, WindowWidth=900, VOILUTFunction="SIGMOID"
        ),
        "dicom inverted": lambda: dicom(PhotometricInterpretation="MONOCHROME1"),
        "stack": lambda: encoded(
            photo(), "TIFF", save_all=True, append_images=[Image.fromarray(photo())]
        ),
        "float": lambda: encoded(photo()[:, :, 0].astype(np.float32), "TIFF"),
        "truncated": lambda: encoded(photo(), "PNG")[:60],
        "frames": lambda: dicom(NumberOfFrames=2),
        "text": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>" * 9,
    }
)
REFUSED = {"stack", "float", "truncated", "frames", "text"}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site")) as made:
        yield made


def data_set(folder: Path, content: bytes, region: bytes | None = None) -> Path:
    """A manifest of two rows: one that every reader takes, and the file in question."""
    folder.mkdir(exist_ok=True)
    (folder / "plain.png").write_bytes(encoded(np.zeros((9, 9, 3), np.uint8), "PNG"))
    (folder / "it.dat").write_bytes(content)
    if region is not None:
        (folder / "region.png").write_bytes(region)
    (folder / "manifest.csv").write_text(
        "path,label,split,region\nplain.png,red,val,\n"
        f"it.dat,red,train,{'' if region is None else 'region.png'}\n"
    )
    return folder


def coco(folder: Path, size: tuple[int, int]) -> Path:
    """The same picture with the left half of what people see marked."""
    height, width = size
    half = [0, 0, width // 2, 0, width // 2, height, 0, height]
    mark = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [half], "area": 9}
    image = {"id": 1, "file_name": "it.dat", "height": height, "width": width}
    path = folder / "instances.json"
    path.write_text(
        json.dumps(
            {
                "images": [image],
                "annotations": [mark],
                "categories": [{"id": 1, "name": "red"}],
            }
        )
    )
    return path


def shown(answer: dict[str, object]) -> np.ndarray:
    """The pixels that a trial says the classifier saw."""
    content = base64.b64decode(str(answer["image"]).partition(",")[2])
    return np.asarray(Image.open(BytesIO(content)).convert("RGB"))


@pytest.mark.parametrize("kind", PICTURES)
def test_the_same_bytes_give_the_same_pixels(place: Site, tmp_path: Path, kind: str) -> None:
    content = PICTURES[kind]()
    if not content:
        pytest.skip("this Pillow is built without AVIF")
    files = [("image", ("it.dat", content, "application/octet-stream"))]
    trial = place.ask("POST", f"{PLACE}/versions/1/trials", files=files)
    folder = data_set(tmp_path, content)
    entry = next(each for each in datasets.read_folder(folder) if each.path.name == "it.dat")
    if kind in REFUSED:
        assert trial.status_code in (415, 422), trial.text
        with pytest.raises(DatasetError):
            datasets.load([entry], SHAPE)
        with pytest.raises(ImageError):
            read_image(entry.path, SHAPE, place.serving.settings)
        return
    assert trial.status_code == 200, trial.text
    seen = shown(trial.json())

    # predict, offline
    assert (seen == read_image(entry.path, SHAPE, place.serving.settings)).all()
    # training, and the rows that planting begins with
    trained = datasets.load_splits(datasets.read_folder(folder), SHAPE)["train"]
    assert (seen == trained.images[0]).all()
    planted = plant(trained, Planting("marker"))
    assert (seen == planted.images[0])[~planted.irrelevant[0]].all()
    # evaluate
    session = Session.open(
        place.serving.registry.version(MODEL, 1).folder, device="cpu", threads=1
    )
    assert (seen == read_set(session, folder, "train").images[0]).all()
    # the file as a whole, recorded by the server
    answer = place.ask("POST", f"{PLACE}/predictions", files=files).json()["predictions"][0]
    picture = place.ask("GET", f"/v1/predictions/{answer['prediction_id']}/image.png")
    assert (seen == np.asarray(Image.open(BytesIO(picture.content)).convert("RGB"))).all()
    # annotations of COCO lie where people see the object
    half = np.zeros((HEIGHT, WIDTH), bool)
    half[:, : WIDTH // 2] = True
    marked = datasets.load(imports.read_data(coco(folder, (HEIGHT, WIDTH))), SHAPE)
    assert (seen == marked.images[0]).all()
    expected = preprocessing.prepare_region(half, SHAPE)
    assert (expected == marked.relevant[0]).mean() > 0.93


def ink(mode: str, drawn: object, ground: object, **options: object) -> bytes:
    image = Image.new(mode, (WIDTH, HEIGHT), ground)
    image.paste(drawn, (4, 6, 20, 18))
    return encoded(image, "PNG", **options)


def turned_mask() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Image.open(BytesIO(ink("L", 255, 0)))
    return encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


MASKS = MappingProxyType(
    {
        "grey": lambda: ink("L", 255, 0),
        "ones": lambda: ink("L", 1, 0),
        "bits": lambda: ink("1", 1, 0),
        "16 bit": lambda: ink("I;16", 300, 0),
        "nearly black": lambda: ink("RGB", (1, 0, 0), (0, 0, 0)),
        "transparent ground": lambda: ink("RGBA", (255, 0, 0, 255), (255, 255, 255, 0)),
        "black ink": lambda: ink("RGBA", (0, 0, 0, 255), (0, 0, 0, 0)),
        "opaque": lambda: ink("RGBA", (9, 9, 9, 255), (0, 0, 0, 255)),
        "grey with alpha": lambda: ink("LA", (0, 255), (255, 0)),
        "clear colour": lambda: ink("L", 255, 7, transparency=7),
        "turned": turned_mask,
        "everything": lambda: ink("L", 255, 255),
        "everything opaque": lambda: ink("RGBA", (0, 255, 0, 255), (255, 0, 0, 255)),
        "nothing": lambda: ink("L", 0, 0),
        "nothing clear": lambda: ink("RGBA", (0, 0, 0, 0), (0, 0, 0, 0)),
    }
)


@pytest.mark.parametrize("kind", MASKS)
def test_the_same_mask_is_the_same_region(place: Site, tmp_path: Path, kind: str) -> None:
    """At each door: a prediction, a trial, a template, a truth, a manifest."""
    content, picture = MASKS[kind](), encoded(photo(), "PNG")
    square = np.zeros((HEIGHT, WIDTH), bool)
    square[6:18, 4:20] = True
    files = [("image", ("a.png", picture)), ("region", ("r.png", content))]
    text = base64.b64encode(content).decode()
    asked = [
        place.ask("POST", f"{PLACE}/predictions", files=files),
        place.ask("POST", f"{PLACE}/versions/1/trials", files=files),
        place.ask("PUT", f"{PLACE}/template-region", json={"region": text}),
    ]
    entries = datasets.read_folder(data_set(tmp_path, picture, content))
    if "thing" in kind:
        assert [422] * 3 == [each.status_code for each in asked]
        wanted = "marks every pixel" if kind.startswith("every") else "marks no pixel"
        assert all(wanted in each.json()["detail"] for each in asked)
        with pytest.raises(DatasetError, match=wanted):
            datasets.load(entries[1:], SHAPE)
        return
    assert [200] * 3 == [each.status_code for each in asked]
    answer = asked[0].json()["predictions"][0]
    for audit in (answer["audit"], asked[1].json()["audit"]):
        assert audit["chance"] == pytest.approx(square.mean(), abs=0.05)
    assert asked[2].json()["card"]["area"] == pytest.approx(square.mean())
    rows = datasets.load(entries, SHAPE)
    assert (preprocessing.prepare_region(square, SHAPE) == rows.relevant[1]).all()
    place.ask("DELETE", f"{PLACE}/template-region")


@pytest.mark.parametrize(("kind", "words"), [("L", "every pixel"), ("1", "no pixel")])
def test_a_truth_that_tells_nothing_is_refused(place: Site, kind: str, words: str) -> None:
    files = [("image", ("a.png", encoded(photo(), "PNG")))]
    answer = place.ask("POST", f"{PLACE}/predictions", files=files).json()["predictions"][0]
    mask = encoded(Image.new(kind, (graphs.SIDE, graphs.SIDE), 255 if kind == "L" else 0), "PNG")
    told = {"region": base64.b64encode(mask).decode(), "source": "client", "actor": "a"}
    refused = place.ask("PUT", f"/v1/predictions/{answer['prediction_id']}/region", json=told)

    assert refused.status_code == 422
    assert words in refused.json()["detail"]
