"""The REST surface beside the native route: one FastAPI application, mounted in the gateway."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import cast

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route

from services import wiring
from services.console import pages
from services.errors import EXPECTED, answer, invalid, problem
from services.routes import (
    alarms,
    attachments,
    audits,
    charts,
    decisions,
    erasures,
    exports,
    inference,
    mixes,
    operations,
    predictions,
    readings,
    reports,
    retrainings,
    rollouts,
    runs,
    suspicions,
    trials,
    truths,
    verdicts,
    versions,
)
from services.routes.depending import installed_version
from services.web import openapi
from services.wiring import Serving

ROUTERS: Sequence[APIRouter] = (
    predictions.router,
    inference.router,
    versions.router,
    rollouts.router,
    attachments.router,
    trials.router,
    audits.router,
    verdicts.router,
    reports.router,
    suspicions.router,
    charts.router,
    decisions.router,
    mixes.router,
    truths.router,
    readings.router,
    alarms.router,
    erasures.router,
    retrainings.router,
    runs.router,
    exports.router,
    operations.router,
    *pages.ROUTERS,
)


def create() -> FastAPI:
    """Return the application; `connect` gives it what it answers with."""
    application = FastAPI(
        title="Rightly",
        version=installed_version(),
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        application.include_router(router)
    application.add_api_route("/openapi.json", openapi.serve, include_in_schema=False)
    application.add_exception_handler(RequestValidationError, _invalid)
    application.add_exception_handler(HTTPException, _http)
    application.add_exception_handler(ClientDisconnect, _gone)
    for kind in EXPECTED:
        application.add_exception_handler(kind, _expected)
    return application


def connect(application: FastAPI, serving: Serving) -> None:
    """Give the application a worker's objects; before its lifespan begins."""
    application.state.serving = serving


def routes(application: FastAPI) -> list[BaseRoute]:
    """Return every route of the application, in the order in which they are tried."""
    mounted = [route for router in ROUTERS for route in router.routes]
    return [*mounted, *(each for each in application.routes if isinstance(each, Route))]


def write_document(path: Path = Path("docs/openapi.json")) -> None:
    """Write the OpenAPI document as it is checked in."""
    document = openapi.published(openapi.document(create()))
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", "utf-8")


@asynccontextmanager
async def _lifespan(application: FastAPI) -> AsyncIterator[None]:
    async with wiring.running(application.state.serving):
        yield


async def _expected(_: Request, error: Exception) -> Response:
    return answer(error)


async def _invalid(_: Request, error: Exception) -> Response:
    return invalid(cast("RequestValidationError", error).errors())


async def _gone(_: Request, __: Exception) -> Response:
    return problem(HTTPStatus.BAD_REQUEST, "the client left before its request was complete")


async def _http(request: Request, error: Exception) -> Response:
    refused = cast("HTTPException", error)
    headers = dict(refused.headers or {})
    if refused.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods(request)):
        headers["Allow"] = ", ".join(methods)
    return problem(refused.status_code, str(refused.detail), headers=headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of every route of a path; the router names the first route's only."""
    routes = [each for router in ROUTERS for each in router.routes if isinstance(each, APIRoute)]
    told = [each for each in routes if each.include_in_schema]
    here = [each for each in told if each.matches(request.scope)[0] is not Match.NONE]
    # A name in a path, such as `searches`, also fits the parameter of the route beside it.
    literal = min((each.path.count("{") for each in here), default=0)
    named = [each for each in here if each.path.count("{") == literal]
    return sorted({method for each in named for method in each.methods or ()})
