"""What speaks against an explainer on a version, from its card."""

from pathlib import Path

import pytest

from models import cards
from models.cards import CardFields
from models.registry import Registry, Version
from services import clock
from services.versions.cautions import believable, cautions
from tests import graphs


def version(folder: Path, stated: object) -> tuple[Registry, Version]:
    registry = Registry(folder / "registry")
    fields = CardFields(measures={cards.REACTIONS: stated})
    registry.add("m", graphs.write_version(folder / "1"), fields, now=clock.now())
    return registry, registry.version("m", 1)


@pytest.mark.parametrize(
    ("stated", "believed"),
    [
        ({}, True),
        ({"gradcam": {"similarity": 0.1, "reacts": True, "images": 16}}, True),  # of before
        ({"gradcam": {"similarity": 0.1, "reacts": True, "deletion": 0.2}}, True),
        ({"gradcam": {"similarity": 0.1, "reacts": True, "deletion": -0.02}}, True),
        ({"gradcam": {"similarity": 0.9, "reacts": False, "deletion": 0.2}}, False),
        ({"gradcam": {"similarity": 0.1, "reacts": True, "deletion": -0.3}}, False),
        ({"lrp": {"similarity": 0.1, "reacts": True, "deletion": -0.3}}, True),
    ],
)
def test_an_explainer_that_fails_its_check_is_not_believed(tmp_path, stated, believed) -> None:
    assert believable(version(tmp_path, stated)[1], "gradcam") is believed


def test_a_map_that_points_beside_the_evidence_is_said_to(tmp_path) -> None:
    said = cautions(
        *version(tmp_path, {"gradcam": {"similarity": 0.1, "reacts": True, "deletion": -0.31}})
    )

    assert " ".join(said) == (
        "gradcam points beside the evidence: painting over what it shows costs the answer 0.31 "
        "less than painting over another place"
    )
