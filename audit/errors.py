"""What can go wrong in `audit`; the whole tree, so that one look says what to catch.

AuditError
├── HeatmapError              a heatmap is not evidence in [0, 1]
├── RegionError               a region cannot be used
│   ├── EmptyRegionError      it marks no pixel
│   └── RegionShapeError      it does not fit the heatmap
├── RecordError               a value has no canonical text, or a text is no record
├── DetectorError             a detector cannot go on
│   ├── ObservationError      an observation lies outside its range
│   ├── BaselineError         it cannot be built on this reference
│   └── DetectorStateError    a stored state is not one of this detector
├── ProbeError                an intervention cannot be made or read
├── EvaluationError           a set or a classifier's answers to it cannot be scored
├── GateError                 two models cannot be compared, or a margin is none
├── PlanError                 a change-control plan cannot be read
│   └── OutsidePlanError      what is asked for lies outside the plan
├── TransitionError           an alarm cannot take this step of its life
├── JournalError              an entry cannot be written or trusted
│   └── JournalUnavailableError   nothing can be written now: answer nothing
└── StoreError                the audit store cannot do what was asked
    └── UnknownRecordError    it has no such record
"""


class AuditError(Exception):
    """Anything that `audit` refuses, with a message that says what would be right."""


class HeatmapError(AuditError):
    """A heatmap is not a two-dimensional array of evidence in [0, 1]."""


class RegionError(AuditError):
    """A region cannot be used."""


class EmptyRegionError(RegionError):
    """A region marks no pixel."""


class RegionShapeError(RegionError):
    """A region does not fit the heatmap."""


class RecordError(AuditError):
    """A value has no canonical text, or a text is not that of a record."""


class DetectorError(AuditError):
    """A detector cannot go on."""


class ObservationError(DetectorError):
    """An observation lies outside the range that the detector is built for."""


class BaselineError(DetectorError):
    """A detector cannot be built on this reference."""


class DetectorStateError(DetectorError):
    """A stored state is not one of this detector."""


class EvaluationError(AuditError):
    """A labelled set, or a classifier's answers to it, cannot be scored."""


class ProbeError(AuditError):
    """An intervention cannot be made or read."""


class GateError(AuditError):
    """Two models cannot be compared as asked, or a margin is none."""


class PlanError(AuditError):
    """A change-control plan cannot be read."""


class OutsidePlanError(PlanError):
    """What is asked for lies outside the change-control plan."""


class TransitionError(AuditError):
    """An alarm cannot take this step of its life."""


class JournalError(AuditError):
    """A journal entry cannot be written or trusted."""


class JournalUnavailableError(JournalError):
    """Nothing can be written to the journal now, so nothing may be answered."""


class StoreError(AuditError):
    """The audit store cannot do what was asked."""


class UnknownRecordError(StoreError):
    """The audit store has no such record."""
