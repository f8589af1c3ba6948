"""Accept and If-None-Match."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.negotiation import matches, parse_accept, preferred

OFFERED = ("application/json", "application/x-npy", "image/png", "image/webp", "image/gif")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/json"),
        ("text/html, image/gif", "image/gif"),
        ("image/png;q=0.2, image/gif;q=0.9", "image/gif"),
        ("image/gif, image/png", "image/png"),
        ("*/*;q=0.1, image/webp", "image/webp"),
        ("image/*;q=0.8, image/png;q=0.1", "image/webp"),
        ("*/*, application/json;q=0", "application/x-npy"),
        ("application/json; charset=utf-8; q=0.5, image/gif;q=0.4", "application/json"),
        ("application/json ; q = 0.5", "application/json"),
        ("text/html", None),
        ("application/json;q=0", None),
        ("*/*;q=0", None),
        ("nonsense", None),
        ("*/json", None),
        ("image/png;q=2", None),
        ('text/html;note="a,b", image/png', "image/png"),
    ],
)
def test_the_client_gets_the_offer_that_it_likes_best(accept: str, chosen: str | None):
    assert preferred(accept, OFFERED) == chosen


@given(
    st.lists(
        st.tuples(st.sampled_from((*OFFERED, "text/html", "image/*", "*/*")), st.integers(0, 1000)),
        max_size=6,
        unique_by=lambda pair: pair[0],
    )
)
def test_no_offer_has_a_higher_quality_than_the_chosen_one(pairs: list[tuple[str, int]]):
    quality = dict(pairs)

    def of(offer: str) -> int:
        main = offer.split("/", maxsplit=1)[0]
        return next((quality[r] for r in (offer, f"{main}/*", "*/*") if r in quality), 0)

    header = ", ".join(f"{media};q={q / 1000:.3f}" for media, q in pairs)
    chosen = preferred(header, OFFERED)
    if not pairs:
        assert chosen == OFFERED[0]
    elif chosen is None:
        assert all(of(offer) == 0 for offer in OFFERED)
    else:
        assert of(chosen) == max(map(of, OFFERED)) > 0


@given(st.text(max_size=200))
def test_any_text_is_a_header_that_can_be_parsed(header: str):
    assert preferred(header, OFFERED) in {None, *OFFERED}
    assert all(0 <= r.quality <= 1 for r in parse_accept(header))
    assert matches(header, '"abc"') in {True, False}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('"abc"', True),
        ('W/"abc"', True),
        ('"x", "abc"', True),
        ('"x",W/"abc" , "y"', True),
        ("*", True),
        (" * ", True),
        ('"abcd"', False),
        ('"a", "bc"', False),
        ("abc", False),
        ("", False),
        ('"x, abc"', False),
    ],
)
def test_a_tag_matches_weakly_in_a_list_and_by_star(header: str, expected: bool):
    assert matches(header, '"abc"') is expected


_TAGS = st.text(st.characters(min_codepoint=0x23, max_codepoint=0x7E), max_size=8)


@given(tags=st.lists(_TAGS, min_size=1, max_size=5), tag=_TAGS, weak=st.booleans())
def test_a_tag_matches_exactly_when_it_is_in_the_list(tags: list[str], tag: str, weak: bool):
    header = ", ".join(f'{"W/" if weak else ""}"{t}"' for t in tags)
    assert matches(header, f'"{tag}"') is (tag in tags)
