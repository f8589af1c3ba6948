"""The application, composed.

settings ──► Engine ──► FastAPI: Exchanges ──► ApiKeys ──► operations | models | health | pages
                  └──► Desk ─────────────────────────────► augmentations
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service import __version__
from service.api import openapi
from service.api.augmentations import augmentations
from service.api.exchange import exchange_of
from service.api.handlers import problem
from service.api.middleware import ApiKeys, Exchanges, fail
from service.api.pages import pages
from service.api.routes import health, models, operations
from service.augmentation.desk import Desk
from service.engine import Engine
from service.metrics import Metrics
from service.settings import Settings


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Load in the background while the process answers; drain when it ends."""
    engine: Engine = app.state.engine
    await engine.start()
    desk = app.state.desk = Desk(engine)
    await desk.start()
    yield
    await desk.stop()
    await engine.stop()


async def unknown_path(request: Request, error: Exception) -> Response:
    """404 and 405 of the router, as problems."""
    exchange = exchange_of(request.scope)
    fail(exchange, error)
    return problem(error, exchange)


def create_app(settings: Settings) -> FastAPI:
    """The service over HTTP, for these settings."""
    metrics = Metrics()
    app = FastAPI(
        title="Reverie",
        version=__version__,
        summary="Trained generators over REST: sample, interpolate, inpaint, score.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={HTTPException: unknown_path},
    )
    app.state.settings = settings
    app.state.engine = Engine(settings, metrics)
    app.add_middleware(ApiKeys, keys=settings.api_keys)
    app.add_middleware(Exchanges, metrics=metrics)  # the last one added is the outermost
    for router in (operations, models, augmentations, health, pages):
        app.include_router(router)
    app.openapi = lambda: openapi.complete(app, settings)  # type: ignore[method-assign]
    return app
