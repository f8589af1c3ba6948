"""The playground and the documentation: served whole, without anything from elsewhere."""

from __future__ import annotations

import re

import httpx
import pytest

from service.api import pages


def test_the_playground_is_at_the_root(client: httpx.Client):
    response = client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "<h1>Reverie</h1>" in response.text


@pytest.mark.parametrize("path", list(pages._FILES))
def test_every_page_and_asset_is_served_under_a_strict_policy_with_a_tag(
    client: httpx.Client, path: str
):
    response = client.get(path)
    assert response.status_code == 200
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    again = client.get(path, headers={"If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_loads_only_what_this_service_serves(client: httpx.Client, path: str):
    text = client.get(path).text
    assert "http://" not in text
    assert "https://" not in text
    for link in re.findall(r'(?:src|href)="([^"#]+)"', text):
        if link.startswith("/v1"):
            continue
        assert client.get(link).status_code == 200, link
    assert "<style" not in text
    assert not re.search(r"<script(?![^>]*src=)", text)
    assert not re.search(r"\son\w+=", text)


def test_the_scripts_of_the_playground_import_only_each_other(client: httpx.Client):
    for name in ("app.js", "api.js", "canvas.js"):
        text = client.get(f"/playground/{name}").text
        for source in re.findall(r'from "([^"]+)"', text):
            assert client.get(f"/playground/{source.removeprefix('./')}").status_code == 200
        assert "http" not in text.replace("HTTP", "")
