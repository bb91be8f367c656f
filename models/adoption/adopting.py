"""Somebody else's ONNX classifier → a version that Rightly serves with its reason.

The file's own operators stay as they are; around them stand the preparation of the pixels before
and the explanation behind. Where the graph ends in a pooled linear layer, the class activation map
of Zhou et al. (2016, "Learning deep features for discriminative localization", eq. 2) is exact and
costs one product; it is Grad-CAM's map up to a factor (Selvaraju et al., 2017, section 3.1). Else
every answer asks the classifier again with one cell of a grid hidden at a time (Zeiler and Fergus,
2014), in the same run, and says so. The answers are the file's own, compared at adoption.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from models import contract
from models.adoption.building import Explanation, build
from models.adoption.foreign import (
    Outputs,
    Wish,
    answers_of,
    check_input,
    head_of,
    layout_of,
    meaning,
    output_of,
    read,
    session_of,
)
from models.errors import GraphRejectedError

TOLERANCE: Final = 1e-5  # between the file's own probabilities and the version's


@dataclass(frozen=True, slots=True)
class Adopted:
    """What became of a file.

    Attributes:
        explanation: "cam" where the class activation map is exact, else "occlusion".
        passes: How often the classifier computes for one answer.
        outputs: What the file's output was taken for.
        difference: Largest difference between its probabilities and the version's.
        digest: SHA-256 of the file.
        producer: What wrote it, as it says itself.
    """

    explanation: Explanation
    passes: int
    outputs: Outputs
    difference: float
    digest: str
    producer: str

    def to_mapping(self) -> dict[str, bool | int | float | str]:
        """Return it as a card's recipe."""
        said = "class activation map" if self.explanation == "cam" else "one cell hidden at a time"
        return {
            "adopted": f"sha256:{self.digest}",
            "producer": self.producer,
            "explanation": said,
            "passes": self.passes,
            "outputs": self.outputs,
            "difference": self.difference,
        }


def adopt(path: Path, folder: Path, wish: Wish, images: NDArray[np.uint8]) -> Adopted:
    """Write `predict.onnx` for a foreign file into a folder, once it answers as the file does.

    Args:
        path: An ONNX image classifier.
        folder: Where to write.
        wish: What the file does not say.
        images: Prepared images to compare on, uint8 [images, rows, columns, 3].

    Raises:
        GraphRejectedError: If the file is none that can be served; the message says why.
    """
    content = _content(path)
    foreign = read(content, path.name)
    wish = replace(wish, layout=layout_of(foreign, wish))
    check_input(foreign, wish)
    output = output_of(foreign, wish)
    kind, logits = meaning(foreign, wish, output, images)
    head = head_of(foreign, logits, wish)
    built = build(foreign, wish, logits, kind, head)
    text = built.SerializeToString()
    target = folder / contract.FILES["predict"]
    target.write_bytes(text)
    try:
        contract.check(target, "predict")
        own = answers_of(foreign, wish, output, images).astype(np.float64)
        difference = _compared(built, own, kind, images)
    except GraphRejectedError:
        target.unlink()
        raise
    return Adopted(
        explanation="cam" if head else "occlusion",
        passes=1 if head else 1 + wish.cells**2,
        outputs=kind,
        difference=difference,
        digest=hashlib.sha256(content).hexdigest(),
        producer=foreign.producer_name or "unknown",
    )


def _content(path: Path) -> bytes:
    """Return a file, through links as well: it is read once, and what is served is written anew.

    Raises:
        GraphRejectedError: If there is none, or it is too large.
    """
    try:
        if path.stat().st_size > contract.LARGEST_FILE:
            raise GraphRejectedError(f"{path.name} has more than {contract.LARGEST_FILE} bytes")
        return path.read_bytes()
    except OSError as error:
        raise GraphRejectedError(f"{path.name} cannot be read: {error.strerror}") from error


def _compared(
    built: onnx.ModelProto, own: NDArray[np.float64], kind: Outputs, images: NDArray[np.uint8]
) -> float:
    """Return the largest difference of probabilities from the file's own.

    Raises:
        GraphRejectedError: If it is more than `TOLERANCE`.
    """
    if kind == "logits":
        own = np.exp(own - own.max(axis=1, keepdims=True))
        own /= own.sum(axis=1, keepdims=True)
    session = session_of(built)
    feed = {"images": images, "target": np.full(len(images), -1, np.int64)}
    try:
        found, cam = session.run(["probabilities", "cam"], feed)
    except Exception as error:
        # A graph that was exported for one image at a time often says so only when it runs.
        raise GraphRejectedError(
            f"the graph computes one image but not {len(images)} together: export it with an open "
            f"first axis ({error})"
        ) from error
    if found.shape != own.shape or cam.shape[0] != len(images):
        raise GraphRejectedError(
            f"the graph answers {found.shape[0]} times for {len(images)} images: export it with "
            "an open first axis"
        )
    difference = float(np.abs(found - own).max())
    if not difference <= TOLERANCE:
        raise GraphRejectedError(
            f"the version answers otherwise than the file, by {difference:.2g} (at most "
            f"{TOLERANCE:g})"
        )
    return difference
