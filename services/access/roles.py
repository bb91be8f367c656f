"""The role that each route needs: one table.

`tests/contracts/test_roles.py` compares it with the OpenAPI document: a new route needs a line
here, and until it has one only an administrator gets through.
"""

from collections.abc import Mapping

from services.access.principals import Role

# What `open_predictions` opens to those who have not signed in.
PREDICTIONS = frozenset(
    {
        "POST /predict",
        "POST /v1/models/{model}/predictions",
        "POST /v2/models/{model}/infer",
        "POST /v2/models/{model}/versions/{version}/infer",
        "GET /schema.json",
    }
)
# Forms that check their token themselves, because a body comes with it or no session is there yet.
FORMS = frozenset({"POST /sign-in", "POST /sign-out"})

ROLES: Mapping[str, Role] = {
    # Predictions.
    "POST /predict": Role.CLIENT,
    "GET /schema.json": Role.CLIENT,
    "POST /v1/models/{model}/predictions": Role.CLIENT,
    "GET /v1/predictions/{prediction_id}": Role.CLIENT,
    "GET /v1/predictions/{prediction_id}/lineage": Role.VIEWER,
    "GET /v1/predictions/{prediction_id}/image.png": Role.CLIENT,
    "GET /v1/predictions/{prediction_id}/heatmap.png": Role.CLIENT,
    "PUT /v1/predictions/{prediction_id}/label": Role.CLIENT,
    "PUT /v1/predictions/{prediction_id}/region": Role.CLIENT,  # a reviewer's: REVIEWER
    "POST /v1/predictions/{prediction_id}/reviews": Role.REVIEWER,
    "POST /v1/predictions/{prediction_id}/readings": Role.REVIEWER,
    "GET /v1/predictions/{prediction_id}/regions": Role.CLIENT,
    # The Open Inference Protocol.
    "GET /v2": Role.ANYONE,
    "GET /v2/health/live": Role.ANYONE,
    "GET /v2/health/ready": Role.ANYONE,
    "GET /v2/models/{model}": Role.CLIENT,
    "GET /v2/models/{model}/ready": Role.CLIENT,
    "GET /v2/models/{model}/versions/{version}": Role.CLIENT,
    "GET /v2/models/{model}/versions/{version}/ready": Role.CLIENT,
    "POST /v2/models/{model}/infer": Role.CLIENT,
    "POST /v2/models/{model}/versions/{version}/infer": Role.CLIENT,
    # Models.
    "GET /v1/models": Role.VIEWER,
    "GET /v1/models/{model}": Role.VIEWER,
    "GET /v1/models/{model}/versions": Role.VIEWER,
    "GET /v1/models/{model}/versions/{version}": Role.VIEWER,
    "GET /v1/models/{model}/versions/{version}/samples/{position}/image.png": Role.VIEWER,
    "GET /v1/models/{model}/versions/{version}/samples/{position}/region.png": Role.VIEWER,
    "POST /v1/models/{model}/versions/{version}/trials": Role.VIEWER,
    "POST /v1/models/{model}/promotions": Role.APPROVER,
    "POST /v1/models/{model}/rollbacks": Role.APPROVER,
    "GET /v1/models/{model}/segmenter": Role.VIEWER,
    "GET /v1/models/{model}/template-region": Role.VIEWER,
    "GET /v1/models/{model}/template-region.png": Role.VIEWER,
    "PUT /v1/models/{model}/template-region": Role.APPROVER,
    "DELETE /v1/models/{model}/template-region": Role.APPROVER,
    "GET /v1/models/{model}/rollout": Role.VIEWER,
    "POST /v1/models/{model}/rollouts": Role.APPROVER,
    "POST /v1/models/{model}/withdrawals": Role.APPROVER,
    # Audit.
    "GET /v1/models/{model}/audit": Role.VIEWER,
    "GET /v1/models/{model}/verdict": Role.VIEWER,
    "GET /v1/models/{model}/report.html": Role.VIEWER,
    "GET /v1/models/{model}/audit/series": Role.VIEWER,
    "GET /v1/models/{model}/audit/agreement": Role.VIEWER,
    "GET /v1/models/{model}/audit/distribution": Role.VIEWER,
    "GET /v1/models/{model}/audit/evidence": Role.VIEWER,
    "GET /v1/models/{model}/audit/decisions": Role.VIEWER,
    "GET /v1/requests": Role.VIEWER,
    "GET /v1/models/{model}/audit/watches": Role.VIEWER,
    "GET /v1/models/{model}/audit/class-mix": Role.VIEWER,
    "GET /v1/models/{model}/suspected-shortcuts": Role.VIEWER,
    "POST /v1/models/{model}/suspected-shortcuts/searches": Role.REVIEWER,
    "GET /v1/models/{model}/suspected-shortcuts/{suspicion_id}": Role.VIEWER,
    "POST /v1/models/{model}/suspected-shortcuts/{suspicion_id}/verdicts": Role.REVIEWER,
    "POST /v1/erasures": Role.ADMIN,
    "GET /v1/erasures/{event_id}": Role.ADMIN,
    "GET /v1/alarms": Role.VIEWER,
    "POST /v1/alarms/{alarm_id}/acknowledgement": Role.REVIEWER,
    "GET /v1/audit/export.zip": Role.APPROVER,
    "POST /v1/webhooks/alertmanager": Role.ANYONE,  # has a token of its own
    # Retrainings.
    "GET /v1/retrainings": Role.VIEWER,
    "POST /v1/retrainings": Role.APPROVER,
    "GET /v1/retrainings/{retraining_id}": Role.VIEWER,
    "DELETE /v1/retrainings/{retraining_id}": Role.APPROVER,
    "GET /v1/retrainings/{retraining_id}/logs": Role.VIEWER,
    "GET /v1/retrainings/{retraining_id}/stream": Role.VIEWER,
    "GET /v1/retrainings/{retraining_id}/epochs": Role.VIEWER,
    "GET /v1/retrainings/{retraining_id}/dataset": Role.VIEWER,
    "GET /v1/retrainings/{retraining_id}/comparison": Role.VIEWER,
    "GET /v1/retrainings/{retraining_id}/comparison/{position}/image.png": Role.VIEWER,
    "GET /v1/retrainings/{retraining_id}/comparison/{position}/region.png": Role.VIEWER,
    "POST /v1/retrainings/{retraining_id}/approvals": Role.APPROVER,
    # Operations.
    "GET /livez": Role.ANYONE,
    "GET /readyz": Role.ANYONE,
    "GET /metrics": Role.CLIENT,
    "GET /openapi.json": Role.VIEWER,
    # Pages.
    "GET /": Role.VIEWER,
    "GET /overview/models": Role.VIEWER,
    "GET /models/{model}": Role.VIEWER,
    "GET /try": Role.VIEWER,
    "GET /review": Role.VIEWER,
    "GET /alarms": Role.VIEWER,
    "GET /runs": Role.VIEWER,
    "GET /runs/{retraining_id}": Role.VIEWER,
    "GET /trail": Role.VIEWER,
    "GET /trail/{event_id}": Role.VIEWER,
    "GET /trail/verification": Role.VIEWER,
    "POST /trail/verification": Role.REVIEWER,
    "GET /docs": Role.VIEWER,
    "GET /assets/{name}": Role.ANYONE,
    "GET /sign-in": Role.ANYONE,
    "POST /sign-in": Role.ANYONE,
    "POST /sign-out": Role.ANYONE,
    "GET /sign-in/provider": Role.ANYONE,
    "GET /sign-in/callback": Role.ANYONE,
}


def needed(method: str, template: str, *, open_predictions: bool) -> Role:
    """Return the role that a route needs; the highest for one that the table does not know.

    Args:
        method: Of the request.
        template: The route's path with its parameters' names in braces.
        open_predictions: Whether predictions need no sign-in.
    """
    route = f"{method} {template}"
    if open_predictions and route in PREDICTIONS:
        return Role.ANYONE
    return ROLES.get(route, Role.ADMIN)
