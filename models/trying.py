"""Tries a version in a process of its own, before anybody is answered by it.

What a graph does shows when it runs: it may never end, take all memory, crash the process, or
answer with no numbers. None of that may happen first in a worker that serves. So a child opens the
version, asks it about a few images, looks at every number, and is killed where it takes too long.

    python -m models.trying FOLDER
"""

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models import contract
from models.errors import GraphRejectedError, ModelsError
from models.runtime import Session

SECONDS: Final = 90.0
# Of addresses, not of memory in use: threads and libraries reserve far more than they touch.
MEMORY_BYTES: Final = 16 * 2**30
_PER_BYTE: Final = 16  # and so many times the graphs' own size
_REFUSED: Final = 65  # the child's exit code after it has said why
_DRIFT: Final = 1e-3  # of probabilities that should sum to one
_BATCHES: Final = (1, 3)


def check(folder: Path, *, seconds: float = SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
    """Try the version in a folder, in a child process.

    Args:
        folder: Holds both graphs.
        seconds: Longest time.
        memory_bytes: Largest address space, besides some for the graphs themselves.

    Raises:
        GraphRejectedError: With the reason, where it cannot be served.
    """
    graphs = [folder / each for each in contract.FILES.values()]
    sizes = [each.stat().st_size for each in graphs if each.is_file()]
    limit = memory_bytes + _PER_BYTE * sum(sizes)
    command = [sys.executable, "-m", "models.trying", str(folder.resolve()), str(limit)]
    command.append(str(int(seconds) + 1))
    here = Path(__file__).parents[1]  # where the child finds our packages
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            command, check=False, capture_output=True, timeout=seconds, cwd=here
        )
    except subprocess.TimeoutExpired:
        raise GraphRejectedError(
            f"the version does not answer {sum(_BATCHES)} images within {seconds:g} seconds"
        ) from None
    if done.returncode == 0:
        return
    if done.returncode == _REFUSED:
        raise GraphRejectedError(str(json.loads(done.stdout.splitlines()[-1])))
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    ended = f"signal {-done.returncode}" if done.returncode < 0 else f"code {done.returncode}"
    raise GraphRejectedError(
        f"the version ends the process that tries it ({ended}); it may need more than "
        f"{limit / 2**30:.1f} GiB: {' '.join(last)[:300]}"
    )


def examine(session: Session) -> None:
    """Ask a session about images of several kinds, and look at every number.

    Raises:
        GraphRejectedError: Where an answer is none.
        RuntimeUnavailableError: If ONNX Runtime fails in the run.
    """
    classes = len(session.spec.classes)
    for images in _asked(session.spec.preprocessing.height, session.spec.preprocessing.width):
        targets = [classes - 1] * len(images)
        for kind in session.kinds:
            _check_answers(kind, session.raw(kind, images, targets), len(images), classes)


def main(folder: Path, memory_bytes: int, seconds: int) -> int:
    """Try the version; say why it cannot be served."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))  # should the parent be gone
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        examine(Session.open(folder, device="cpu", threads=1))
    except MemoryError:
        said = f"it needs more than {memory_bytes / 2**30:.1f} GiB of memory"
    except (ModelsError, ValueError) as error:
        said = str(error)
    else:
        return 0
    sys.stdout.write(json.dumps(said) + "\n")
    return _REFUSED


def _check_answers(
    kind: str, answers: dict[str, NDArray[np.float32]], images: int, classes: int
) -> None:
    for name, values in answers.items():
        if len(values) != images:
            raise GraphRejectedError(
                f"{kind}.onnx answers {images} images with {len(values)} rows of {name}"
            )
        if not np.isfinite(values).all():
            raise GraphRejectedError(f"{kind}.onnx: {name} holds what is no finite number")
    for name in ("logits", "probabilities"):
        if answers[name].shape != (images, classes):
            raise GraphRejectedError(f"{kind}.onnx: {name} has shape {answers[name].shape}")
    probabilities = answers["probabilities"]
    drift = float(np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1.0).max())
    if drift > _DRIFT or float(probabilities.min()) < -_DRIFT:
        raise GraphRejectedError(f"{kind}.onnx: its probabilities do not sum to one")
    if float(answers["cam"].min()) < 0.0:
        raise GraphRejectedError(f"{kind}.onnx: its heatmap has negative evidence")


def _asked(height: int, width: int) -> Sequence[NDArray[np.uint8]]:
    """Return batches of plain and of noisy images, the same at every trial."""
    draw = np.random.default_rng(0)
    black = np.zeros((1, height, width, 3), np.uint8)
    mixed = np.stack(
        [
            np.full((height, width, 3), 255, np.uint8),
            *draw.integers(0, 256, (_BATCHES[1] - 1, height, width, 3)).astype(np.uint8),
        ]
    )
    return (black, mixed)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
