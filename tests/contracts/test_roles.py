"""Every route states the role that it needs, and says so in the public document."""

import inspect

import pytest
from fastapi.routing import APIRoute

from services.access import roles
from services.access.principals import Role
from services.web import openapi, rest


@pytest.fixture(scope="module")
def operations() -> dict[str, dict]:
    document = openapi.document(rest.create())
    return {
        f"{verb.upper()} {path}": operation
        for path, item in document["paths"].items()
        for verb, operation in item.items()
    }


def test_every_route_has_a_line_in_the_table_and_every_line_a_route(operations) -> None:
    """A new route needs a line in `services/access/roles.py`."""
    assert set(roles.ROLES) == set(operations)


def test_that_a_route_without_a_line_is_for_administrators_only() -> None:
    assert Role.ADMIN is roles.needed("GET", "/v1/forgotten", open_predictions=True)


def test_the_document_says_the_role_and_how_it_is_shown(operations) -> None:
    for route, operation in operations.items():
        assert roles.ROLES[route].word == operation["x-rightly-role"]
        public = roles.ROLES[route] is Role.ANYONE
        assert ([] if public else [{"key": []}, {"session": []}]) == operation["security"], route
        assert public or {"401", "403"} <= set(operation["responses"]), route


def test_whatever_changes_something_needs_more_than_looking() -> None:
    harmless = {"POST /v1/models/{model}/versions/{version}/trials"} | roles.PREDICTIONS
    own_token = {"POST /v1/webhooks/alertmanager"} | roles.FORMS
    late_truth = {f"PUT /v1/predictions/{{prediction_id}}/{each}" for each in ("label", "region")}
    for route, role in roles.ROLES.items():
        if not route.startswith("GET ") and route not in harmless | own_token | late_truth:
            assert role >= Role.REVIEWER, route


def test_what_is_open_besides_is_known_by_name() -> None:
    """A slip of the pen in the table must not open anything."""
    public = {route for route, role in roles.ROLES.items() if role is Role.ANYONE}

    assert public == roles.FORMS | {
        "POST /v1/webhooks/alertmanager",
        "GET /livez",
        "GET /readyz",
        "GET /v2",
        "GET /v2/health/live",
        "GET /v2/health/ready",
        "GET /assets/{name}",
        "GET /sign-in",
        "GET /sign-in/provider",
        "GET /sign-in/callback",
    }


def test_whoever_changes_something_is_named_by_the_sign_in(operations) -> None:
    """A route that takes an actor asks the door for the name; see `Asking`."""
    said = {
        each["$ref"].rpartition("/")[2]: route
        for route, operation in operations.items()
        for each in [schema_of(operation)]
        if "$ref" in each
    }
    schemas = openapi.document(rest.create())["components"]["schemas"]
    wanted = {route for name, route in said.items() if "actor" in schemas[name]["properties"]}
    wanted |= {
        route
        for route, operation in operations.items()
        if any(each["name"] == "actor" for each in operation.get("parameters", ()))
    }
    named = {
        f"{verb} {each.path}"
        for each in rest.routes(rest.create())
        if isinstance(each, APIRoute) and "asking" in inspect.signature(each.endpoint).parameters
        for verb in each.methods
    }

    assert len(wanted) >= 10
    assert set() == wanted - named


def schema_of(operation: dict) -> dict:
    content = operation.get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("schema", {})
