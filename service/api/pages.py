"""The pages for people: the playground at / and the API's documentation at /docs.

Both work without a network: no script, style or font comes from anywhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.api.negotiation import matches
from service.contract import sha256_of

pages = APIRouter(include_in_schema=False)

_STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Swagger UI sets styles from its script.
_FOR_SWAGGER = _STRICT.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_OWN = ("service.api", "playground")
_SWAGGER = ("fastapi_offline", "static")  # Swagger UI's files, as that package carries them
_FILES: dict[str, tuple[tuple[str, str], str]] = {
    "/": (_OWN, "index.html"),
    "/playground/style.css": (_OWN, "style.css"),
    "/playground/app.js": (_OWN, "app.js"),
    "/playground/api.js": (_OWN, "api.js"),
    "/playground/canvas.js": (_OWN, "canvas.js"),
    "/playground/tables.js": (_OWN, "tables.js"),
    "/playground/icon.svg": (_OWN, "icon.svg"),
    "/favicon.ico": (_OWN, "icon.svg"),
    "/docs": (_OWN, "docs.html"),
    "/docs/docs.js": (_OWN, "docs.js"),
    "/docs/swagger-ui-bundle.js": (_SWAGGER, "swagger-ui-bundle.js"),
    "/docs/swagger-ui.css": (_SWAGGER, "swagger-ui.css"),
}


@cache
def _content(path: str) -> tuple[bytes, str]:
    """A file and its entity tag; read once."""
    (package, folder), name = _FILES[path]
    content = (files(package) / folder / name).read_bytes()
    return content, f'"{sha256_of(content)[:40]}"'


def _endpoint(path: str) -> Callable[[Request], Awaitable[Response]]:
    headers = {
        "Content-Type": _TYPES[PurePosixPath(_FILES[path][1]).suffix],
        "Content-Security-Policy": _FOR_SWAGGER if path.startswith("/docs") else _STRICT,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",  # may be kept, but is asked for again with its tag
    }

    async def endpoint(request: Request) -> Response:
        content, tag = _content(path)
        if matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers={**headers, "ETag": tag})
        return Response(content, headers={**headers, "ETag": tag})

    return endpoint


for _path in _FILES:
    pages.add_api_route(_path, _endpoint(_path), methods=["GET"])
