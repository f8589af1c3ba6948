"""Where the service is, and what goes with every request to it.

arguments | REVERIE_URL, REVERIE_API_KEY ──► Connection ──► arguments of httpx's clients
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import httpx

from service import __version__
from service.client.retrying import Deadline

DEFAULT_URL = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Connection:
    """What both clients are made with.

    Attributes:
        base_url: address of the service, with a path if a proxy adds one.
        api_key: sent as `Authorization: Bearer KEY`; not shown by `repr`.
        timeout_s: a call's deadline where it names none, in seconds.
        tries: how often a request is sent at most.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    timeout_s: float
    tries: int

    @classmethod
    def of(
        cls, base_url: str | None, *, api_key: str | None, timeout_s: float, tries: int
    ) -> Connection:
        """A connection; address and key are looked up in the environment where they are None.

        Raises:
            ValueError: an address that is none, or a value out of its bounds.
        """
        found = base_url or os.environ.get("REVERIE_URL") or DEFAULT_URL
        try:
            url = httpx.URL(found)
        except httpx.InvalidURL as error:
            raise ValueError(f"base_url={found!r} is not an address: {error}") from error
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"base_url={found!r} is not an address like {DEFAULT_URL}")
        if not timeout_s > 0:
            raise ValueError(f"timeout_s={timeout_s} is not above 0; give it in seconds")
        if tries < 1:
            raise ValueError(f"tries={tries} is less than 1; 1 sends each request once")
        key = api_key or os.environ.get("REVERIE_API_KEY") or None
        return cls(base_url=found.rstrip("/"), api_key=key, timeout_s=timeout_s, tries=tries)

    def deadline(self, timeout_s: float | None) -> Deadline:
        """A call's deadline: its own, or the default."""
        return Deadline.lasting(self.timeout_s if timeout_s is None else timeout_s)

    def arguments(self) -> dict[str, Any]:
        """The arguments of `httpx.Client` and `httpx.AsyncClient`."""
        headers = {"User-Agent": f"reverie-client/{__version__}"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {"base_url": self.base_url, "headers": headers, "follow_redirects": False}
