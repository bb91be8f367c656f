"""The OpenAPI document of everything that answers: FastAPI's, completed by hand.

BentoML's document does not pass a validator and omits what is mounted, so it is not served. The
copy in `docs/openapi.json` is compared with this one by a test, so that a change of the contract
shows in review.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.access import roles
from services.access.principals import Role
from services.contract.inference import InferRequest
from services.contract.predictions import Answer, ImageRequest, Options, PredictionRequest, Problem
from services.routes.depending import refusals
from services.routes.predictions import request_body

SUMMARY = "Image classifiers that answer with their reason."
REFERENCE = "#/components/schemas/{model}"
_SCHEMES: dict[str, Any] = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key, as `rightly keys add` prints it.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "rightly",
        "description": "A browser's session; changes need its token in X-CSRF-Token as well. Over "
        "https the cookie is called __Host-rightly.",
    },
}
# Operations that take the identifier of an answer.
_FOUND_AGAIN = ("find", "lineage", "image", "heatmap")
_SPOKEN: tuple[type[BaseModel], ...] = (
    Answer,
    ImageRequest,
    InferRequest,
    Options,
    PredictionRequest,
    Problem,
)


async def serve(request: Request) -> JSONResponse:
    """Answer `GET /openapi.json`."""
    whole = document(request.app)
    if request.app.state.serving.settings.sign_in == "none":
        whole = {**whole, "paths": _opened(whole["paths"])}
    return JSONResponse(whole)


def document(application: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the REST application and the native routes."""
    if application.openapi_schema is None:
        application.openapi_schema = _document(application)
    return application.openapi_schema


def published(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the document as it is checked in: without the version that is installed."""
    return {**whole, "info": {**whole["info"], "version": "installed"}}


def _document(application: FastAPI) -> dict[str, Any]:
    made = get_openapi(
        title=application.title,
        version=application.version,
        summary=SUMMARY,
        routes=application.routes,
    )
    schemas = made["components"]["schemas"]
    schemas.update(_spoken())
    schemas["PredictionRequestForm"] = _form(schemas, many=True)
    schemas["ImageRequestForm"] = _form(schemas, many=False)
    made["paths"].update(_native())
    for item in made["paths"].values():
        for operation in item.values():
            operation["responses"].setdefault("default", refusals(500)[500])
    _secure(made)
    for unused in ("HTTPValidationError", "ValidationError", "Options"):
        schemas.pop(unused, None)
    made["components"]["schemas"] = dict(sorted(schemas.items()))
    made["paths"] = dict(sorted(made["paths"].items()))
    return dict(_unwrapped(made))


def _secure(made: dict[str, Any]) -> None:
    """Say of every operation which role it needs, and how a request shows it."""
    made["components"]["securitySchemes"] = _SCHEMES
    for path, item in made["paths"].items():
        for verb, operation in item.items():
            role = roles.needed(verb.upper(), path, open_predictions=False)
            operation["x-rightly-role"] = role.word
            if role is Role.ANYONE:
                operation["security"] = []
                continue
            operation["security"] = [{name: []} for name in _SCHEMES]
            refused = _named(refusals(401, 403, 429))
            operation["responses"] = refused | operation["responses"]


def _opened(paths: dict[str, Any]) -> dict[str, Any]:
    """Return the paths as they are without sign-in: nothing has to be shown."""
    return {
        path: {verb: {**operation, "security": []} for verb, operation in item.items()}
        for path, item in paths.items()
    }


def _unwrapped(node: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return the document with its texts on one line, which wrap in the source but not in JSON."""
    if isinstance(node, dict):
        return {key: _unwrapped(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_unwrapped(each) for each in node]
    return " ".join(node.split()) if isinstance(node, str) and "\n" in node else node


def _spoken() -> dict[str, Any]:
    """Return the schemas of types that routes name by reference only."""
    _, found = models_json_schema(
        [(each, "validation") for each in _SPOKEN], ref_template=REFERENCE
    )
    defined: dict[str, Any] = found["$defs"]
    return defined


def _form(schemas: dict[str, Any], *, many: bool) -> dict[str, Any]:
    """Return the schema of a multipart body: files, and the options as text fields."""
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    files = {"type": "array", "items": file, "minItems": 1} if many else file
    spoken = schemas["PredictionRequest"]["properties"]
    options = {name: spoken[name] for name in schemas["Options"]["properties"]}
    image = {**files, "description": "One part per image." if many else "The image."}
    region = {**files, "description": spoken["region"]["description"].replace(" in base64", "")}
    return {
        "type": "object",
        "title": "Prediction request as a form",
        "properties": {
            "image": image,
            "region": region,
            **{k: _plain(v) for k, v in options.items()},
        },
        "required": ["image"],
        "additionalProperties": False,
    }


def _plain(option: dict[str, Any]) -> dict[str, Any]:
    """Return an option without null, which a form field cannot say."""
    kinds = [kind for kind in option.get("anyOf", []) if kind.get("type") != "null"]
    rest = {key: value for key, value in option.items() if key not in {"anyOf", "default"}}
    given = {"default": option["default"]} if option.get("default") is not None else {}
    return {**rest, **given, **(kinds[0] if kinds else {})}


def _native() -> dict[str, Any]:
    """Return the paths that BentoML answers itself."""
    answer = {"schema": {"$ref": "#/components/schemas/Answer"}}
    return {
        "/predict": {
            "post": {
                "tags": ["predictions"],
                "summary": "Predict one image with the default model, and say why",
                "description": "The native route of BentoML's clients.",
                "operationId": "predict_by_default",
                **request_body("ImageRequest"),
                "responses": {
                    "200": {
                        "description": "OK",
                        "content": {"application/json": answer},
                        "links": {name: _found_by(name) for name in _FOUND_AGAIN},
                    },
                    **_named(refusals(400, 408, 413, 415, 422, 429, 503)),
                },
            }
        },
        "/metrics": _plain_get("metrics", "Prometheus series of this server", "text/plain"),
        "/schema.json": _plain_get("schema", "What BentoML's clients read", "application/json"),
        "/openapi.json": _plain_get("openapi", "This document", "application/json"),
    }


def _found_by(operation: str) -> dict[str, Any]:
    """Return the link from an answer to where it is found again."""
    return {
        "operationId": operation,
        "parameters": {"prediction_id": "$response.body#/prediction_id"},
    }


def _plain_get(name: str, summary: str, kind: str) -> dict[str, Any]:
    schema = {"type": "string"} if kind == "text/plain" else {"type": "object"}
    response = {"description": "OK", "content": {kind: {"schema": schema}}}
    entry = {
        "tags": ["operations"],
        "summary": summary,
        "operationId": name,
        "responses": {"200": response},
    }
    return {"get": entry}


def _named(entries: dict[int | str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(status): entry for status, entry in entries.items()}
