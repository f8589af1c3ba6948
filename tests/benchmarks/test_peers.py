"""The table of peers: everyone is asked for the same work."""

from __future__ import annotations

import json

import pytest

from benchmarks.peers.table import PEERS, ours

EVERYONE = [*ours(), *PEERS]


@pytest.mark.parametrize("peer", EVERYONE, ids=lambda peer: peer.name)
@pytest.mark.parametrize("form", ["npy", "json"])
def test_a_request_is_json_that_names_its_rows_and_its_seed(peer, form):
    request = peer.ask("small", 3, form)
    body = json.loads(request.body.replace("SEED", "17"))
    if "inputs" in body:  # the Open Inference Protocol: a row for each sample
        assert body["inputs"][0]["data"] == [17, 17, 17]
    else:
        assert (body["n"], body["seed"]) == (3, 17)
    assert request.path.startswith("/")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_what_a_peer_needs_is_pinned(peer):
    assert peer.requirements
    assert all("==" in requirement for requirement in peer.requirements)


def test_reverie_comes_first_and_takes_settings():
    first, *_ = ours(batch_rows="64")
    assert first.name == "reverie"
    assert first.variables["REVERIE_BATCH_ROWS"] == "64"
    assert len({peer.name for peer in EVERYONE}) == len(EVERYONE)
