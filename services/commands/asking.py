"""`rightly predict` and `rightly samples`: straight from the registry, without a server."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from models import preprocessing
from models import samples as sample_files
from models.errors import ImageError
from models.registry import Version
from models.types import Prediction, Preprocessing
from services import settings
from services.commands import terminal, versions
from services.errors import RequestError
from services.settings import Settings

_GRADCAM = "gradcam"
_DIGITS = 6

Model = Annotated[str | None, typer.Option(help="The model. Setting: default_model.")]
Number = Annotated[int | None, typer.Option(help="The version; the champion if left out.")]


def predict(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Images.")],
    *,
    model: Model = None,
    version: Number = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Draw the heatmap over the image: a PNG; a folder for several images."),
    ] = None,
    explainer: Annotated[
        str, typer.Option(help="gradcam, input_gradients, smoothgrad, … as the model has them.")
    ] = _GRADCAM,
    target: Annotated[
        str | None, typer.Option(help="The class to explain; each image's own if left out.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many classes to show.", min=1)] = 3,
    json: versions.Json = False,
) -> None:
    """Classify images and say why, without a server."""
    chosen = settings.load()
    registry = versions.opened()
    found = versions.find(registry, model or versions.default(chosen), version)
    registry.verify(found)
    from models.runtime import LARGEST_BATCH, Session

    with terminal.progress() as report:
        report(f"loading {found.ref.name} version {found.ref.version}", 0.0)
        session = Session.open(found.folder, device=chosen.device, threads=chosen.threads)
        answers = []
        for start in range(0, len(files), LARGEST_BATCH):
            report(f"{len(files)} images", start / len(files))
            part = files[start : start + LARGEST_BATCH]
            answers += _answers(session, found, part, chosen, explainer=explainer, target=target)
    if save is not None:
        _draw(answers, files, save)
    if json:
        terminal.print_json([_as_json(each, found, top=top) for each in answers])
    else:
        _tabulate(answers, found, top=top)


def samples(
    *,
    model: Model = None,
    version: Number = None,
    to: Annotated[Path, typer.Option(help="The folder to write them to.")] = Path("samples"),
) -> None:
    """List the sample images that travel with a model, and write them to a folder."""
    chosen = settings.load()
    found = versions.find(versions.opened(), model or versions.default(chosen), version)
    there = sample_files.read(found.folder)
    if not there:
        terminal.say(f"{found.ref.name} version {found.ref.version} carries no samples")
        return
    to.mkdir(parents=True, exist_ok=True)
    shown = terminal.table("", "image", "label", "region")
    for each in there:
        image = shutil.copyfile(each.image, to / each.image.name)
        region = each.region and shutil.copyfile(each.region, to / each.region.name)
        shown.add_row(str(image), each.label, str(region or ""))
    terminal.console.print(shown)
    url = f"http://{chosen.host}:{chosen.port}/predict"
    region_field = f" -F region=@{to / there[0].region.name}" if there[0].region else ""
    terminal.say(f"try one: curl -F image=@{to / there[0].image.name}{region_field} {url}")


def read_image(path: Path, shape: Preprocessing, chosen: Settings) -> NDArray[np.uint8]:
    """Return an image file as the classifier takes it, within the settings' limits.

    Raises:
        RequestError: If it cannot be read; the message names the file.
        ImageError: If it cannot be decoded; likewise.
    """
    return preprocessing.prepare(decoded(path, chosen), shape)


def decoded(path: Path, chosen: Settings) -> NDArray[np.uint8]:
    """Return an image file's RGB pixels at its own size, within the settings' limits.

    Raises:
        RequestError: If it cannot be read; the message names the file.
        ImageError: If it cannot be decoded; likewise.
    """
    from models.pictures.decoding import Limits, decode_image

    try:
        content = path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path}: {error.strerror}") from error
    try:
        return decode_image(content, Limits(chosen.max_body_bytes, chosen.max_pixels))
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error


class _Answer:
    """What one file was answered, and what is drawn over it."""

    def __init__(
        self,
        path: Path,
        pixels: NDArray[np.uint8],
        prediction: Prediction,
        heatmap: NDArray[np.float32],
        explainer: str,
    ) -> None:
        self.path, self.pixels = path, pixels
        self.prediction, self.heatmap, self.explainer = prediction, heatmap, explainer


def _answers(
    session: Any,  # noqa: ANN401 - models.runtime is imported where it is needed
    version: Version,
    files: Sequence[Path],
    chosen: Settings,
    *,
    explainer: str,
    target: str | None,
) -> list[_Answer]:
    from services.answering.answerer import heatmap_of, target_index

    spec = version.card.spec
    index = target_index(target, spec.classes)
    pixels = np.stack([read_image(path, spec.preprocessing, chosen) for path in files])
    predictions = session.predict(pixels, None if index is None else [index] * len(files))
    heatmaps = [each.heatmap for each in predictions]
    if explainer != _GRADCAM:
        targets = [each.target for each in predictions]
        heatmaps = [heatmap_of(each) for each in session.attribute(pixels, explainer, targets)]
    rows = zip(files, pixels, predictions, heatmaps, strict=True)
    return [
        _Answer(path, image, found, heatmap, explainer) for path, image, found, heatmap in rows
    ]


def _draw(answers: Sequence[_Answer], files: Sequence[Path], save: Path) -> None:
    from services.pictures.overlays import blend
    from services.pictures.png import compressed

    several = len(files) > 1
    if several:
        save.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    for number, each in enumerate(answers):
        stem = each.path.stem if each.path.stem not in taken else f"{each.path.stem}-{number}"
        taken.add(stem)
        path = save / f"{stem}.png" if several else save
        try:
            path.write_bytes(compressed(blend(each.pixels, each.heatmap)))
        except OSError as error:
            raise RequestError(f"cannot write {path}: {error.strerror}") from error


def _ranked(prediction: Prediction, top: int) -> list[int]:
    order: list[int] = np.argsort(-prediction.probabilities, kind="stable")[:top].tolist()
    return order


def _tabulate(answers: Sequence[_Answer], version: Version, *, top: int) -> None:
    classes = version.card.spec.classes
    shown = terminal.table(
        f"{version.ref.name} version {version.ref.version}", "image", "class", "others"
    )
    for each in answers:
        said = [
            f"{classes[i]} {each.prediction.probabilities[i]:.1%}"
            for i in _ranked(each.prediction, top)
        ]
        shown.add_row(str(each.path), said[0], ", ".join(said[1:]))
    terminal.console.print(shown)


def _as_json(answer: _Answer, version: Version, *, top: int) -> dict[str, Any]:
    classes, found = version.card.spec.classes, answer.prediction
    return {
        "file": str(answer.path),
        "model": {
            "name": version.ref.name,
            "version": version.ref.version,
            "digest": version.ref.digest,
        },
        "classes": [
            {
                "label": classes[i],
                "index": i,
                "probability": round(float(found.probabilities[i]), _DIGITS),
            }
            for i in _ranked(found, top)
        ],
        "explanation": {
            "explainer": answer.explainer,
            "target": {"label": classes[found.target], "index": found.target},
            "shape": list(answer.heatmap.shape),
            "grid": np.round(answer.heatmap.astype(np.float64), 4).tolist(),
        },
    }
