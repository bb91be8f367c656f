"""The public contract: valid, complete, and the same as the copy that people review."""

import json
from pathlib import Path

import pytest
from openapi_spec_validator import validate
from starlette.requests import Request
from starlette.routing import Route

from services.web import openapi, rest

COPY = Path(__file__).parents[3] / "docs" / "openapi.json"
# What BentoML answers, by the guard's list; `/predict` is POST only.
NATIVE = {"/predict", "/metrics", "/schema.json"}


@pytest.fixture(scope="module")
def application():  # noqa: ANN201 - FastAPI's type says nothing here
    return rest.create()


@pytest.fixture(scope="module")
def document(application) -> dict:
    return openapi.document(application)


def test_the_document_is_valid(document) -> None:
    validate(document)


def test_that_the_check_above_can_fail(document) -> None:
    broken = json.loads(json.dumps(document))
    broken["paths"]["/predict"]["post"]["responses"]["200"].pop("description")
    with pytest.raises(Exception, match="description"):
        validate(broken)


def test_every_route_is_covered(application, document) -> None:
    every = routes_of(application)
    routes = {(each.path, verb) for each in every for verb in each.methods}
    hidden = {each.path for each in every if not each.include_in_schema} - {"/openapi.json"}
    spoken = {(path, verb.upper()) for path, item in document["paths"].items() for verb in item}

    assert {each for each in routes if each[1] != "HEAD"} - spoken == {
        (path, "GET") for path in hidden
    }
    assert hidden == {"/v1/models/{model}/suspected-shortcuts/searches"}  # keeps the name
    assert spoken <= routes | {(path, verb) for path in NATIVE for verb in ("GET", "POST")}


def routes_of(application) -> list[Route]:
    ours = [*application.routes, *(each for router in rest.ROUTERS for each in router.routes)]
    found = [each for each in ours if isinstance(each, Route)]
    assert len(found) > 10
    return found


def test_every_error_is_a_problem(document) -> None:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            for status, response in operation["responses"].items():
                content = set(response.get("content", {}))
                expected = content if status[0] in "23" else {"application/problem+json"}
                assert expected == content, f"{verb} {path} {status}"


def test_every_field_and_route_is_described(document) -> None:
    for path, item in document["paths"].items():
        for verb, operation in item.items():
            assert operation["summary"], f"{verb} {path}"
    own = [each for name, each in document["components"]["schemas"].items() if "Form" not in name]

    assert [] == [each["title"] for each in own if not each.get("description")]


def test_no_name_is_missing(document) -> None:
    text = json.dumps(document)
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert named == set(document["components"]["schemas"]) - {"Options"}


def test_the_copy_in_docs_is_up_to_date(document) -> None:
    """Write it anew with `python -c "from services.web import rest; rest.write_document()"`."""
    assert json.loads(COPY.read_text("utf-8")) == openapi.published(document)


def test_a_method_that_a_path_does_not_know_is_told_all_that_it_knows() -> None:
    scope = {"type": "http", "path": "/v1/retrainings", "method": "OPTIONS", "headers": []}

    assert rest._methods(Request(scope)) == ["GET", "POST"]
