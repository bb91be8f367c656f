"""The tables. Events are the truth; everything below "projections" can be made again from them.

Moments are canonical text (`audit.canonical.moment`), which sorts by time in both databases.
"""

import sqlalchemy as sa

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_MOMENT = sa.String(27)
_DIGEST = sa.String(64)
# Names come from outside: PostgreSQL would refuse one that is longer than its column.
_NAME = sa.Text()

identity = sa.Table(
    "identity",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("store_id", _DIGEST, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
)

# Append-only: one row per event, chained; carries no content, so it survives every erasure.
events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("source", _NAME, nullable=False),
    sa.Column("segment", sa.BigInteger, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("event_id", _NAME, nullable=False, index=True),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("ingested_at", _MOMENT, nullable=False),
    sa.Column("commitment", _DIGEST, nullable=False),
    sa.Column("link", _DIGEST, nullable=False),
    sa.Column("seal", _DIGEST, nullable=False),
    sa.UniqueConstraint("source", "segment", "offset"),
)

# Erasable: the content behind a commitment, and the secret without which the commitment says
# nothing.
payloads = sa.Table(
    "payloads",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("subject", _NAME, nullable=True, index=True),
    sa.Column("retention", sa.String(16), nullable=False),
    sa.Column("ingested_at", _MOMENT, nullable=False),
    sa.Index("ix_payloads_retention_ingested_at", "retention", "ingested_at"),
)

head = sa.Table(
    "head",
    metadata,
    sa.Column("only", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("link", _DIGEST, nullable=False),
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("source", _NAME, primary_key=True),
    sa.Column("segment", sa.BigInteger, nullable=False),
    sa.Column("offset", sa.BigInteger, nullable=False),
    sa.Column("check", sa.BigInteger, nullable=False),
)

# Projections.

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("prediction_id", _NAME, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False, unique=True),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("model", _NAME, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("class_label", _NAME, nullable=False),
    sa.Column("confidence", sa.Float, nullable=False),
    sa.Column("explainer", _NAME, nullable=False),
    sa.Column("stream", sa.String(16), nullable=False),
    sa.Column("image", _DIGEST, nullable=True),
    sa.Column("region_source", sa.String(16), nullable=True),
    sa.Column("label", _NAME, nullable=True),
    sa.Column("verdict", sa.String(16), nullable=True),
    sa.Column("erased", sa.Boolean, nullable=False),
    sa.Index("ix_predictions_model_event_time", "model", "event_time"),
    sa.Index("ix_predictions_image_event_time", "image", "event_time"),
    sa.Index("ix_predictions_class", "model", "version", "class_label", "seq"),
)

measures = sa.Table(
    "measures",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", _NAME, primary_key=True),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("prediction_id", _NAME, nullable=False, index=True),
    sa.Column("model", _NAME, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("class_label", _NAME, nullable=False),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("current", sa.Boolean, nullable=False),
    sa.Index("ix_measures_model_name_event_time", "model", "name", "event_time"),
    sa.Index("ix_measures_model_event_time", "model", "event_time"),
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("prediction_id", _NAME, nullable=False, index=True),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("actor", _NAME, nullable=False),
    sa.Column("stratum", _NAME, nullable=False),
    sa.Column("inclusion", sa.Float, nullable=False),
    sa.Column("blind", sa.Boolean, nullable=False),
    sa.Column("reading", sa.String(16), nullable=False, server_default="first"),
    sa.Column("exemplar", sa.String(8), nullable=False, server_default=""),
    sa.Column("label", _NAME, nullable=True),
)

# Answers that somebody wants judged by a second person.
readings = sa.Table(
    "readings",
    metadata,
    sa.Column("prediction_id", _NAME, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("actor", _NAME, nullable=False),
)

detector_states = sa.Table(
    "detector_states",
    metadata,
    sa.Column("stream", _NAME, primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("model", _NAME, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Index("ix_detector_states_model_version", "model", "version"),
)

# The past of a watch, thinned as it grows (`audit.watch.trace`).
points = sa.Table(
    "points",
    metadata,
    sa.Column("watch_id", _NAME, primary_key=True),
    sa.Column("observations", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("value", sa.Float, nullable=False),
    sa.Column("peak", sa.Float, nullable=False),
    sa.Column("cusum", sa.Float, nullable=True),
    sa.Column("cusum_peak", sa.Float, nullable=True),
)

# Sums of what is current of the measures of live answers: fixed-point integers, so that neither
# the order nor a correction leaves a rounding error (`audit.store.tallies`).
hours = sa.Table(
    "hours",
    metadata,
    sa.Column("model", _NAME, primary_key=True),
    sa.Column("name", _NAME, primary_key=True),
    sa.Column("source", sa.String(16), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("class_label", _NAME, primary_key=True),
    sa.Column("hour", sa.String(13), primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("squares", sa.BigInteger, nullable=False),
)

histograms = sa.Table(
    "histograms",
    metadata,
    sa.Column("model", _NAME, primary_key=True),
    sa.Column("name", _NAME, primary_key=True),
    sa.Column("source", sa.String(16), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("class_label", _NAME, primary_key=True),
    sa.Column("bin", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("n", sa.BigInteger, nullable=False),
)

# What the policy made of the alarms, with its reasons.
decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("model", _NAME, nullable=False),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("retrain", sa.Boolean, nullable=False),
    sa.Column("request_id", _NAME, nullable=True),
    sa.Column("reasons", sa.Text, nullable=False),
    sa.Column("alarm_ids", sa.Text, nullable=False),
    sa.Index("ix_decisions_model_seq", "model", "seq"),
)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("alarm_id", _NAME, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("model", _NAME, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("measure", _NAME, nullable=False),
    sa.Column("class_label", _NAME, nullable=False),
    sa.Column("side", sa.String(8), nullable=False),
    sa.Column("source", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("evidence", sa.Text, nullable=False),
    sa.Column("raised_at", _MOMENT, nullable=False),
    sa.Column("changed_at", _MOMENT, nullable=False),
    sa.Column("actor", _NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", _NAME, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("model", _NAME, nullable=False, index=True),
    sa.Column("origin", sa.String(16), nullable=False),
    sa.Column("actor", _NAME, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("alarm_id", _NAME, nullable=True),
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("opened_at", _MOMENT, nullable=False),
)

# A row per image that a candidate on trial was asked; numbers only, so it survives erasures.
comparisons = sa.Table(
    "comparisons",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("rollout_id", _NAME, nullable=False),
    sa.Column("phase", sa.String(8), nullable=False),
    sa.Column("prediction_id", _NAME, nullable=False),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("failure", sa.Text, nullable=False),
    sa.Column("agrees", sa.Boolean, nullable=True),
    sa.Column("recall_fall", sa.Float, nullable=True),
    sa.Column("milliseconds", sa.Float, nullable=True),
    sa.Column("champion_milliseconds", sa.Float, nullable=True),
    sa.Column("dropped", sa.Integer, nullable=False),
    sa.Index("ix_comparisons_rollout_id_phase", "rollout_id", "phase"),
)

erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("event_id", _NAME, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("subject", _NAME, nullable=True),
    sa.Column("actor", _NAME, nullable=False),
    sa.Column("done_at", _MOMENT, nullable=True),
)

# What was said about an answer that is not there yet, or was erased (`audit.store.waiting`).
waiting = sa.Table(
    "waiting",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("prediction_id", _NAME, nullable=False, index=True),
)

# Answers that were erased with their subject: what is said about them later goes the same way.
forgotten = sa.Table(
    "forgotten",
    metadata,
    sa.Column("prediction_id", _NAME, primary_key=True),
)

# The newest figures of each suspected shortcut; `seq` is the event that they are from.
suspicions = sa.Table(
    "suspicions",
    metadata,
    sa.Column("suspicion_id", _NAME, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("model", _NAME, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("class_label", _NAME, nullable=False),
    sa.Column("first_found_at", _MOMENT, nullable=False),
    sa.Column("found_at", _MOMENT, nullable=False),
    sa.Column("current", sa.Boolean, nullable=False),
    sa.Column("answers", sa.Integer, nullable=False),
    sa.Column("groups", sa.Integer, nullable=False),
    sa.Column("eigengap", sa.Float, nullable=False),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("focus", sa.Float, nullable=False),
    sa.Column("distance", sa.Float, nullable=False),
    sa.Column("score", sa.Float, nullable=False),
    sa.Column("heatmap", sa.Text, nullable=False),
    sa.Column("examples", sa.Text, nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Index("ix_suspicions_model_version_class_label", "model", "version", "class_label"),
)

# What people made of them: a row per verdict, none is overwritten.
suspicion_verdicts = sa.Table(
    "suspicion_verdicts",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("suspicion_id", _NAME, nullable=False, index=True),
    sa.Column("event_time", _MOMENT, nullable=False),
    sa.Column("verdict", sa.String(16), nullable=False),
    sa.Column("actor", _NAME, nullable=False),
    sa.Column("note", sa.Text, nullable=False),
)
