"""The OpenAPI document: valid by its specification, and that of the running API."""

from __future__ import annotations

import openapi_spec_validator

from allocation.entrypoints.http_api import application
from tests.unit.http_api import world


def test_it_is_valid_by_the_specification() -> None:
    openapi_spec_validator.validate(application.openapi())


def test_it_is_what_the_running_api_tells_of_itself() -> None:
    assert world.World().client.get("/openapi.json").json() == application.openapi()


def test_every_call_is_in_it() -> None:
    calls = {(method, path) for path, methods in application.openapi()["paths"].items() for method in methods}
    assert calls == {
        ("post", "/add_batch"),
        ("post", "/allocate"),
        ("post", "/change_batch_quantity"),
        ("get", "/allocations/{orderid}"),
        ("get", "/commands/{commandid}"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }
