from __future__ import annotations

import socket
import sys

import pytest

from allocation.entrypoints.cli import membership

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere each process has a name of its own")


def test_a_name_is_the_hosts_and_the_same_every_time() -> None:
    with membership.held_name("same every time") as first:
        pass
    with membership.held_name("same every time") as second:
        pass
    assert first == second == f"{socket.gethostname()}-1"


def test_two_at_once_have_different_names_and_the_lowest_free_one_is_taken() -> None:
    with membership.held_name("two at once"):
        with membership.held_name("two at once") as second, membership.held_name("two at once") as third:
            assert [second[-2:], third[-2:]] == ["-2", "-3"]
        with membership.held_name("two at once") as again:
            assert again == second


def test_each_group_has_names_of_its_own_however_long_it_is_called() -> None:
    with membership.held_name("one group"), membership.held_name("g" * 500) as name:
        assert name.endswith("-1")
