"""Versions to and from BentoML's model store; our registry stays the record.

BentoML's store has no digests and no champion, so the version travels whole, card included, in a
folder of its own within the BentoML model, and is checked like any other when it comes back.
"""

import shutil
from pathlib import Path
from typing import Final

from models.errors import RegistryError, UnknownModelError
from models.registry import Registry, Version

FOLDER: Final = "rightly"
_SHORT: Final = 12  # hexadecimal digits of the digest in the tag
_SCHEME: Final = "sha256:"


def tag_of(version: Version) -> str:
    """Return the BentoML tag of a version, for example "digits:v3-0f1e2d3c4b5a"."""
    short = version.ref.digest.removeprefix(_SCHEME)[:_SHORT]
    return f"{version.ref.name}:v{version.ref.version}-{short}"


def export_bento_model(registry: Registry, version: Version) -> str:
    """Copy a version into BentoML's model store (`BENTOML_HOME`), after checking its files.

    Returns:
        Its BentoML tag; exporting again finds the same one.

    Raises:
        CorruptVersionError: If its files are not what the card says.
        RegistryError: If BentoML cannot store it.
    """
    import bentoml  # noqa: PLC0415 - heavy, and it reads its environment when imported

    registry.verify(version)
    tag = tag_of(version)
    try:
        known = bentoml.models.list(tag)
        if not known:
            labels = {"rightly-digest": version.ref.digest.removeprefix(_SCHEME)[:63]}
            with bentoml.models.create(tag, labels=labels) as model:
                shutil.copytree(version.folder, Path(model.path) / FOLDER)
    except (bentoml.exceptions.BentoMLException, OSError) as error:
        raise RegistryError(f"BentoML cannot store {tag}: {error}") from error
    return tag


def import_bento_model(registry: Registry, tag: str, *, name: str | None = None) -> Version:
    """File the version that lies in a BentoML model, once everything in it is as its card says.

    Args:
        registry: Where to.
        tag: As `export_bento_model` returned it, here or where the BentoML model comes from.
        name: The model to file it under; its own name when None.

    Raises:
        UnknownModelError: If BentoML's store has no such model.
        CorruptVersionError: If anything in it is not as its card says.
        RegistryError: If the model is not one that Rightly exported.
    """
    import bentoml  # noqa: PLC0415 - heavy, and it reads its environment when imported

    try:
        folder = Path(bentoml.models.get(tag).path) / FOLDER
    except bentoml.exceptions.NotFound as error:
        raise UnknownModelError(f"BentoML's store has no model {tag!r}") from error
    except (bentoml.exceptions.BentoMLException, ValueError) as error:
        raise RegistryError(f"BentoML cannot give {tag!r}: {error}") from error
    if not folder.is_dir():
        raise RegistryError(f"the BentoML model {tag!r} was not exported by Rightly")
    return registry.adopt(folder, name=name)
