"""Structured logs: text for a person at a terminal, JSON lines for a collector."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from service.settings import Settings


def configure(settings: Settings) -> None:
    """Route structlog and the standard library's loggers to standard error, in one format."""
    as_text = settings.log_format == "text" or (
        settings.log_format == "auto" and sys.stderr.isatty()
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any = structlog.processors.JSONRenderer()
    if as_text:
        renderer = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    # Without the frames' variables: they are arrays, and what clients sent.
    tracebacks = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[
            *shared,
            *([] if as_text else [tracebacks]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr, format="%(message)s")
