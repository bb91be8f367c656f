"""What the gateway knows of attachments: the template region of an answer without one."""

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models import preprocessing, templates
from models.attachments import Attachments
from models.errors import ModelsError
from models.types import Preprocessing
from services.identifiers import sampled
from services.records.recording import AnsweredRegion

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """The template region of a model.

    Attributes:
        origin: Its number and digest.
        region: Where evidence is expected, bool [rows, columns], as it was drawn.
    """

    origin: str
    region: NDArray[np.bool_]

    def on_grid(self, shape: Preprocessing, grid: tuple[int, int]) -> AnsweredRegion | None:
        """Return it on a heatmap's grid; None where the classifier sees nothing of it."""
        seen = preprocessing.prepare_region(self.region, shape)
        if not seen.any():
            return None
        shares = preprocessing.region_on_grid(seen, grid)
        return AnsweredRegion("template", self.origin, shares, float(self.region.mean()))


@dataclass(slots=True)
class Templates:
    """Template regions of all models, each read again when it has changed.

    Attributes:
        root: The registry's folder.
        segment_share: Share of the answers that an attached segmenter sees.
    """

    root: Path
    segment_share: float
    _known: dict[str, tuple[object, Template | None]] = field(default_factory=dict)

    def region(
        self, model: str, prediction_id: str, shape: Preprocessing, grid: tuple[int, int]
    ) -> AnsweredRegion | None:
        """Return the region of an answer that came without one.

        None where there is no template, or where a segmenter will say better.
        """
        template = self.current(model)
        if template is None:
            return None
        segmented = Attachments(self.root, "segmenter").current_number(model) is not None
        if segmented and sampled(prediction_id, self.segment_share):
            return None
        return template.on_grid(shape, grid)

    def current(self, model: str) -> Template | None:
        """Return a model's template; None where there is none that can be used."""
        attachments = Attachments(self.root, "template")
        stamp = attachments.stamp(model)
        if stamp is None:
            return None
        known = self._known.get(model)
        if known is None or known[0] != stamp:
            known = self._known[model] = (stamp, self._read(attachments, model))
        return known[1]

    def _read(self, attachments: Attachments, model: str) -> Template | None:
        try:
            found = attachments.current(model)
            if found is None:
                return None
            return Template(f"{found.number} {found.digest}", templates.load(found))
        except ModelsError as error:
            LOG.warning("the template region of %s cannot be used: %s", model, error)
            return None
