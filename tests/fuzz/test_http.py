"""Whatever is called over HTTP is answered in our own form, never with a 500, and sends nothing that is malformed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hypothesis
import pytest
from hypothesis import strategies as st
from starlette import testclient

from allocation.entrypoints.http_api import application, server
from allocation.service_layer import messages
from tests.fuzz import strategies
from tests.unit.http_api.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from allocation import config

FUZZ = hypothesis.settings.get_profile("fuzz")
MANY = hypothesis.settings(FUZZ, max_examples=FUZZ.max_examples * 5)
ANSWERS = {200, 201, 202, 400, 404, 405, 409, 413, 422}

texts = strategies.ids | st.sampled_from(("\ud800", "a\udfffb"))
etas = st.one_of(
    st.none(), st.dates().map(str), st.integers(), st.booleans(),
    st.sampled_from((
        "0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "-4713-11-24", "4714-01-01 BC", "2030-02-29",
        "2030-1-1", "2030-01-01T00:00:00Z", "infinity", "today", "2030-01-01\0", "2030-01-01\n",
    )),
)  # fmt: skip
numbers = st.one_of(
    strategies.quantities,
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from(("1", "\u0661", [1], {})),
)
bodies = st.one_of(
    st.fixed_dictionaries({"ref": texts, "sku": texts, "qty": numbers}, optional={"eta": etas}),
    st.fixed_dictionaries({"orderid": texts, "sku": texts, "qty": numbers}),
    st.fixed_dictionaries({"batchref": texts, "qty": numbers}, optional={"sku": texts}),
    st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner, max_size=3)),
)
paths = st.sampled_from(("/add_batch", "/allocate", "/change_batch_quantity"))
# What an ASGI server lets through: Latin-1 without line ends.
header_texts = st.binary(max_size=300).map(lambda raw: re.sub(rb"[\0\r\n]", b"", raw))
headers = st.fixed_dictionaries(
    {},
    optional={
        b"Idempotency-Key": header_texts | st.sampled_from((b"", b"key", b"x" * 255, b"x" * 256, b"\xff")),
        b"traceparent": header_texts | st.just(b"00-" + b"a" * 32 + b"-" + b"1" * 16 + b"-01"),
        b"Content-Type": st.sampled_from(
            (b"application/json", b"text/plain", b"", b"\xff", b"application/json; charset=x")
        ),
        b"Accept": header_texts,
    },
)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    with world.client:
        yield world
        world.hints.finish()


def check(world: World, path: str, content: bytes, given: Mapping[bytes, bytes]) -> None:
    before = len(world.log.messages)
    response = world.client.post(
        path, content=content, headers=[*{b"Content-Type": b"application/json", **given}.items()]
    )
    assert response.status_code in ANSWERS, response.text
    sent = world.log.messages[before:]
    if response.status_code >= 400:
        assert response.json()["message"]
    if response.status_code in (400, 413, 422):
        assert not sent
    for message in sent:
        assert message.key
        assert messages.CE_ID in dict(message.headers)


@hypothesis.settings(MANY)
@hypothesis.given(path=paths, body=bodies, given=headers)
def test_any_body_and_headers_are_answered(world: World, path: str, body: Any, given: Mapping[bytes, bytes]) -> None:
    check(world, path, json.dumps(body).encode(), given)


@hypothesis.settings(MANY)
@hypothesis.given(path=paths, body=bodies, at=st.floats(0, 1), more=st.binary(max_size=4), given=headers)
def test_damaged_bodies_are_answered(
    world: World, path: str, body: Any, at: float, more: bytes, given: Mapping[bytes, bytes]
) -> None:
    content = json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")
    cut = int(at * len(content))
    check(world, path, content[:cut] + more + content[cut + 1 :], given)


@hypothesis.settings(MANY)
@hypothesis.given(
    method=st.sampled_from(("GET", "POST", "PUT", "HEAD", "OPTIONS")),
    path=st.sampled_from(("/allocations/", "/commands/", "/allocate/", "/")),
    name=st.binary(max_size=300).map(quote),
    query=st.binary(max_size=20).map(quote),
)
def test_any_path_is_answered(world: World, method: str, path: str, name: str, query: str) -> None:
    response = world.client.request(method, f"{path}{name}?{query}")
    assert response.status_code in ANSWERS, (path, name, response.text)


@pytest.fixture
def real(initialised: config.Settings) -> Iterator[testclient.TestClient]:
    """The API with the database behind it."""
    with server.composed(initialised) as api, testclient.TestClient(application.create(api)) as client:
        yield client


@hypothesis.settings(FUZZ)
@hypothesis.given(name=st.one_of(st.binary(max_size=300), strategies.ids.map(str.encode)))
def test_any_name_can_be_asked_of_the_database(real: testclient.TestClient, name: bytes) -> None:
    for path in ("/allocations/", "/commands/"):
        response = real.get(path + quote(name, safe=""))
        assert response.status_code == 404, response.text
        assert response.json()["message"]
