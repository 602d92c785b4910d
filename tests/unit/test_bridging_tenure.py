from __future__ import annotations

import threading

import pytest

from allocation.service_layer import ports
from allocation.service_layer.bridging import perseverance, tenure
from allocation.service_layer.bridging import ports as bridging
from tests.fakes import bridging as fakes
from tests.unit import bridging_builders as build


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseverance, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(perseverance, "LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(tenure, "RENEW_S", 0.01)
    monkeypatch.setattr(tenure, "STANDBY_S", 0.01)


class Job:
    """Works until told to stop, or until it fails."""

    def __init__(self) -> None:
        self.working = threading.Event()
        self.stopped = threading.Event()
        self.fails = threading.Event()
        self.error: Exception | None = None

    def run(self, stopping: threading.Event) -> None:
        self.working.set()
        while not stopping.wait(0.005):
            if self.error is not None:
                error, self.error = self.error, None
                self.working.clear()
                raise error
        self.working.clear()
        self.stopped.set()


@pytest.fixture
def leases() -> fakes.FakeLeases:
    return fakes.FakeLeases()


def test_all_jobs_work_under_the_lease_and_it_is_given_back(leases: fakes.FakeLeases) -> None:
    jobs = (Job(), Job())
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=jobs)):
        assert all(job.working.wait(fakes.PATIENCE_S) for job in jobs)
        assert leases.owner is not None

    assert all(job.stopped.is_set() for job in jobs)
    assert leases.owner is None


def test_a_standby_does_not_work_until_the_lease_expires(leases: fakes.FakeLeases) -> None:
    assert fakes.FakeLease(leases).acquire()
    job = Job()
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(job,))):
        assert not job.working.wait(0.1)
        leases.expire()
        assert job.working.wait(fakes.PATIENCE_S)


def test_losing_the_lease_stops_the_jobs(leases: fakes.FakeLeases) -> None:
    job = Job()
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(job,))):
        assert job.working.wait(fakes.PATIENCE_S)
        leases.owner = fakes.FakeLease(leases)
        assert job.stopped.wait(fakes.PATIENCE_S)


def test_an_outage_of_the_database_stops_nothing(leases: fakes.FakeLeases) -> None:
    job = Job()
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(job,))):
        assert job.working.wait(fakes.PATIENCE_S)
        leases.is_down = True
        leases.wait_for_refusal()
        assert not job.stopped.wait(0.05)
        leases.is_down = False


def test_a_job_that_another_bridge_took_over_makes_this_one_a_standby(leases: fakes.FakeLeases) -> None:
    job, other_job = Job(), Job()
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(job, other_job))):
        assert job.working.wait(fakes.PATIENCE_S)
        leases.owner = fakes.FakeLease(leases)
        job.error = bridging.TakenOver("another bridge works now")
        assert other_job.stopped.wait(fakes.PATIENCE_S)


def test_an_error_that_nobody_expects_ends_the_bridge(leases: fakes.FakeLeases) -> None:
    job, other_job = Job(), Job()
    job.error = RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(job, other_job)).run(threading.Event())

    assert other_job.stopped.is_set()
    assert leases.owner is None


def test_a_bridge_stops_although_it_cannot_give_its_lease_back(leases: fakes.FakeLeases) -> None:
    job = Job()
    with build.running(tenure.Bridge(lease=fakes.FakeLease(leases), jobs=(job,))):
        assert job.working.wait(fakes.PATIENCE_S)
        leases.is_down = True

    assert job.stopped.is_set()


def test_an_attempt_that_went_on_for_long_is_repeated_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perseverance, "LONGEST_PAUSE_S", 0.0)
    failures = [ports.DependencyDown("once"), ports.DependencyDown("twice")]

    def attempt() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert perseverance.keep_trying(attempt, what="it", stopping=threading.Event()) == "done"
