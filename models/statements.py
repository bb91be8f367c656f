"""What a file of weights does not say about its network: stated by its owner, shown in words."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from models.errors import ArchitectureError
from models.types import Channels, ClassifierSpec, Fit, Interpolation, Outputs, Preprocessing

Three = tuple[float, float, float]
Ending = Literal["logits", "probabilities", "one-logit", "findings"]

_FITS = {
    "stretch": "both sides resized",
    "crop": "shorter side resized, centre cut",
    "letterbox": "longer side resized, the rest filled",
}
_CHANNELS = {
    "rgb": "red, green, blue",
    "bgr": "blue, green, red",
    "grey": "one channel of grey",
    "grey_rgb": "grey in three channels",
}


@dataclass(frozen=True, slots=True)
class Stated:
    """What an owner says about his network; None where the architecture's preset shall count.

    Attributes:
        mean: Per channel in the network's order, on pixels in `value_range`.
        std: Likewise.
        value_range: What black and white are before mean and deviation; (0, 1) when None.
        channels: What the network takes.
        fit: How an image is brought to the input's proportions.
        resize: Pixels of the shorter side before the centre is cut.
        interpolation: The filter.
        antialias: Whether the filter widens with the reduction.
        transform_input: Whether the network's origin normalised once more.
        fill: Grey beside a letterboxed image.
        outputs: What the network ends in.
    """

    mean: Three | None = None
    std: Three | None = None
    value_range: tuple[float, float] | None = None
    channels: Channels | None = None
    fit: Fit | None = None
    resize: int | None = None
    interpolation: Interpolation | None = None
    antialias: bool | None = None
    transform_input: bool | None = None
    fill: int | None = None
    outputs: Ending | None = None

    def applied(self, spec: ClassifierSpec) -> ClassifierSpec:
        """Return the spec with what was stated in the place of what was presumed.

        Raises:
            ArchitectureError: If the statements contradict each other, or name what Rightly does
                not serve.
        """
        if self.outputs == "findings":
            raise ArchitectureError(
                "independent findings, a sigmoid for each, are not what is served here: one image "
                "has one class; give classes that exclude each other, or one network per finding"
            )
        ends: Outputs = "probabilities" if self.outputs == "probabilities" else "logits"
        return replace(
            spec,
            preprocessing=self._fitted(spec.preprocessing),
            outputs=spec.outputs if self.outputs is None else ends,
        )

    def _fitted(self, known: Preprocessing) -> Preprocessing:
        given = {
            name: value
            for name in ("channels", "interpolation", "antialias", "transform_input", "fill")
            if (value := getattr(self, name)) is not None
        }
        made = replace(known, **given)
        if self.fit is not None and self.fit != known.fit:
            made = replace(made, fit=self.fit, resize=None, crop_fraction=1.0)
        if self.resize is not None:
            made = replace(made, resize=self._resize(made), crop_fraction=1.0)
        return self._normalised(made)

    def _resize(self, made: Preprocessing) -> int:
        side = self.resize or 0
        if made.fit == "letterbox" or side < min(made.height, made.width):
            raise ArchitectureError(
                f"--resize {side}: the image is resized to that before {made.height} x "
                f"{made.width} pixels are cut out, so it must be larger, and needs --fit crop or "
                "stretch"
            )
        return side

    def _normalised(self, made: Preprocessing) -> Preprocessing:
        mean, std = self.mean or made.mean, self.std or made.std
        if self.value_range is not None:
            low, high = self.value_range
            if self.mean is None or self.std is None or not low < high:
                raise ArchitectureError(
                    "--value-range LOW,HIGH (low below high) says in which numbers --mean and "
                    "--std are given, so it needs both"
                )
            mean = _each(mean, lambda value: (value - low) / (high - low))
            std = _each(std, lambda value: value / (high - low))
        if not all(value > 0 for value in std):
            raise ArchitectureError(f"--std must be above 0, got {std}")
        return replace(made, mean=mean, std=std)


def described(spec: ClassifierSpec) -> dict[str, str]:
    """Return in words all that was presumed or stated about a network's input and output."""
    size = spec.preprocessing
    fit = _FITS[size.fit]
    if size.resize is not None:
        fit += f" (to {size.resize} pixels, then {size.height} x {size.width})"
    elif size.fit == "crop":
        fit += f" ({size.crop_fraction:.3g} of it)"
    elif size.fit == "letterbox":
        fit += f" with grey {size.fill}"
    said = {
        "architecture": f"{spec.architecture}, head {spec.head}",
        "input": f"{size.height} x {size.width} pixels",
        "fit": fit,
        "filter": f"{size.interpolation}, {'with' if size.antialias else 'without'} antialiasing",
        "channels": _CHANNELS[size.channels],
        "mean": _listed(size.mean) + " of pixels in 0..1",
        "std": _listed(size.std),
        "outputs": "logits"
        if spec.outputs == "logits"
        else "probabilities; the last softmax is taken off",
        "target layer": spec.target_layer,
    }
    if size.transform_input:
        said["transform_input"] = "yes: normalised once more, as torchvision does"
    if spec.grid is not None:
        skipped = f", after {spec.grid.skipped} other tokens" if spec.grid.skipped else ""
        layout = spec.grid.layout.replace("_", " ")
        said["grid"] = f"{spec.grid.rows} x {spec.grid.columns}, {layout}{skipped}"
    return said


def _each(values: Three, change: Callable[[float], float]) -> Three:
    red, green, blue = (change(value) for value in values)
    return red, green, blue


def _listed(values: Three) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
