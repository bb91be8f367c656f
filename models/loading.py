"""One checked graph of a version, loaded into ONNX Runtime when it is first needed."""

import hashlib
import threading
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from models import contract, providers, trimming
from models.errors import GraphRejectedError, RuntimeUnavailableError
from models.providers import Device
from models.sessions import GraphSession


class LoadedGraph:
    """One graph of a version, loaded when first needed, exactly as it was checked.

    Whoever asks for some of the outputs gets a session of its own that computes no others.
    """

    def __init__(
        self, folder: Path, checked: contract.CheckedGraph, *, device: Device, threads: int
    ) -> None:
        self._path = folder / contract.FILES[checked.kind]
        self._kind = checked.kind
        self._digest = hashlib.sha256(checked.content).digest()
        self._device = device
        self._threads = threads
        self._lock = threading.Lock()
        self._outputs = frozenset(checked.outputs)
        self._loaded: dict[frozenset[str], GraphSession] = {}

    @property
    def providers(self) -> tuple[str, ...]:
        """What ONNX Runtime truly uses, first choice first; loads the graph if need be."""
        return tuple(self.load().session.get_providers())

    def load(
        self, content: bytes | None = None, *, outputs: Collection[str] | None = None
    ) -> GraphSession:
        """Return the session for some outputs; the first call loads it.

        Args:
            content: The checked bytes, where the caller still has them; read again otherwise.
            outputs: What will be asked for; None means everything.

        Raises:
            GraphRejectedError: If the file has changed since it was checked.
            RuntimeUnavailableError: If this machine cannot run it on the device.
        """
        wanted = self._outputs if outputs is None else frozenset(outputs)
        if wanted in self._loaded:
            return self._loaded[wanted]
        with self._lock:
            if wanted not in self._loaded:
                content = content or contract.check(self._path, self._kind).content
                if hashlib.sha256(content).digest() != self._digest:
                    raise GraphRejectedError(f"{self._path.name} has changed since it was checked")
                if wanted != self._outputs:
                    content = trimming.trimmed(content, wanted)
                self._loaded[wanted] = GraphSession(
                    content, device=self._device, threads=self._threads
                )
        return self._loaded[wanted]

    def run(
        self, outputs: tuple[str, ...], feed: dict[str, NDArray[Any]]
    ) -> Sequence[NDArray[Any]]:
        """Return the named outputs for the inputs in `feed`.

        Raises:
            RuntimeUnavailableError: If ONNX Runtime fails in the run.
        """
        session = self.load(outputs=outputs)
        try:
            return session.run(outputs, feed)
        except providers.runtime_errors() as error:
            raise RuntimeUnavailableError(f"{self._path.name} failed: {error}") from error
