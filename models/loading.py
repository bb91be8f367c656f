"""One checked graph of a version, loaded into ONNX Runtime when it is first needed."""

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from models import contract, providers
from models.errors import GraphRejectedError, RuntimeUnavailableError
from models.providers import Device


class LoadedGraph:
    """One graph of a version, loaded when first needed, exactly as it was checked."""

    def __init__(
        self, folder: Path, checked: contract.CheckedGraph, *, device: Device, threads: int
    ) -> None:
        self._path = folder / contract.FILES[checked.kind]
        self._kind = checked.kind
        self._digest = hashlib.sha256(checked.content).digest()
        self._device = device
        self._threads = threads
        self._lock = threading.Lock()
        self._loaded: Any = None

    @property
    def providers(self) -> tuple[str, ...]:
        """What ONNX Runtime truly uses, first choice first; loads the graph if need be."""
        return tuple(self.load().get_providers())

    def load(self, content: bytes | None = None) -> Any:  # noqa: ANN401 - onnxruntime is untyped
        """Return the `onnxruntime.InferenceSession`; the first call loads it.

        Args:
            content: The checked bytes, where the caller still has them; read again otherwise.

        Raises:
            GraphRejectedError: If the file has changed since it was checked.
            RuntimeUnavailableError: If this machine cannot run it on the device.
        """
        if self._loaded is not None:
            return self._loaded
        with self._lock:
            if self._loaded is None:
                content = content or contract.check(self._path, self._kind).content
                if hashlib.sha256(content).digest() != self._digest:
                    raise GraphRejectedError(f"{self._path.name} has changed since it was checked")
                self._loaded = providers.open_graph(
                    content, device=self._device, threads=self._threads
                )
        return self._loaded

    def run(
        self, outputs: tuple[str, ...], feed: dict[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]:
        """Return the named outputs for the inputs in `feed`.

        Raises:
            RuntimeUnavailableError: If ONNX Runtime fails in the run.
        """
        session = self.load()
        try:
            columns: Sequence[NDArray[Any]] = session.run(outputs, feed)
        except providers.runtime_errors() as error:
            raise RuntimeUnavailableError(f"{self._path.name} failed: {error}") from error
        return columns
