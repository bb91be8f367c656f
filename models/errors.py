"""What can go wrong in `models`; the whole tree, so that one look says what to catch.

ModelsError
├── ImageError                 an image cannot be decoded or prepared
│   ├── UnsupportedImageError  the bytes are not of a format that Rightly reads
│   ├── TooLargeImageError     more bytes or pixels than the limits allow
│   ├── UnreadableImageError   the format is right, the content is not
│   └── RegionRefusedError     a mask tells nothing, or not about this image
├── ArchitectureError          a classifier cannot be built as asked
├── ExplainerError             an explainer cannot run on this classifier
├── ExportError                a classifier cannot become a graph
│   ├── UntraceableError       an operator has no lowering; the message names it
│   └── ParityError            the graph answers differently from torch; says which output
├── RuntimeUnavailableError    ONNX Runtime cannot run as asked on this machine
├── GraphRejectedError         an ONNX file is not one that Rightly serves
├── RegistryError              the registry cannot do what was asked
│   ├── UnknownModelError      no such model or version
│   ├── VersionConflictError   the version or pointer has changed meanwhile
│   └── CorruptVersionError    the files do not match the recorded digest
├── StoppedError               nobody waits for the result any more
└── TrainingError              a training cannot start or go on
    ├── LossNotFiniteError     the loss has become infinite or no number; names the step
    └── DatasetError           a data set is not usable; names the row and the reason
"""


class ModelsError(Exception):
    """Anything that `models` refuses, with a message that says what would be right."""


class ImageError(ModelsError):
    """An image cannot be decoded or prepared."""


class UnsupportedImageError(ImageError):
    """The bytes are not of a format that Rightly reads."""


class TooLargeImageError(ImageError):
    """More bytes or pixels than the limits allow."""


class UnreadableImageError(ImageError):
    """The format is right, but the content cannot be decoded."""


class RegionRefusedError(ImageError):
    """A mask marks nothing, or everything, or is not of its image's size."""


class ArchitectureError(ModelsError):
    """A classifier cannot be built as asked."""


class ExplainerError(ModelsError):
    """An explainer cannot run on this classifier."""


class ExportError(ModelsError):
    """A classifier cannot become a graph."""


class UntraceableError(ExportError):
    """An operator has no lowering to ONNX."""


class ParityError(ExportError):
    """The exported graph answers differently from torch."""


class RuntimeUnavailableError(ModelsError):
    """ONNX Runtime cannot run as asked on this machine."""


class GraphRejectedError(ModelsError):
    """An ONNX file is not one that Rightly serves."""


class RegistryError(ModelsError):
    """The registry cannot do what was asked."""


class UnknownModelError(RegistryError):
    """The registry has no such model or version."""


class VersionConflictError(RegistryError):
    """The version or the champion pointer has changed meanwhile."""


class CorruptVersionError(RegistryError):
    """The files of a version do not match its recorded digest."""


class StoppedError(ModelsError):
    """Nobody waits for the result any more."""


class TrainingError(ModelsError):
    """A training cannot start or go on."""


class LossNotFiniteError(TrainingError):
    """The loss of a training has become infinite or no number."""


class DatasetError(TrainingError):
    """A data set is not usable; the message names the row and the reason."""
