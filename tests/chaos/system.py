"""One installation under test: a stream of commands goes in, parts come and go, the oracle looks at the end."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import time
from typing import TYPE_CHECKING

import confluent_kafka
from confluent_kafka import admin

from tests import meanwhile, waiting
from tests.chaos import processes
from tests.chaos.oracle import avro, checks, observation
from tests.chaos.oracle import log as logs
from tests.chaos.oracle import workload as workloads

if TYPE_CHECKING:
    import threading
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from allocation import config, devstack
    from allocation.devstack import process

# What an outage or a session that times out may take, on a machine with other work to do.
DRAIN_DEADLINE_S = 90.0
# A load that keeps worker and relay busy without a backlog that they cannot work off.
_SLICE = 15
_SLICE_S = 0.1
_COMMANDS = tuple(avro.COMMANDS)


class System:
    """Topics, tables and processes of one installation."""

    def __init__(self, settings: config.Settings, *, directory: Path, seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self.log = self.new_log()
        self.tables = observation.Tables(settings.database_url, settings.topic_prefix)
        self.schema_ids = {
            topic: avro.registered_id(settings.schema_registry_url, f"{settings.topic_prefix}{topic}-value")
            for topic in avro.NAMES
        }
        self.sent = 0
        self.seen: observation.Observation | None = None
        self.found: list[observation.Violation] | None = None
        self.reached: list[str] = []
        self.mixes: list[str] = []
        self.is_broken = False
        self._struck_services = 0
        self._directory = directory
        self._numbers = itertools.count(1)
        self._parts: list[processes.Part] = []

    def new_log(self) -> logs.Log:
        """Return the topics for a client that has never seen them before."""
        return logs.Log(self.settings.kafka_bootstrap_servers, self.settings.topic_prefix)

    def workload(self, mix: str) -> workloads.Workload:
        """Return a stream of commands for the seed of this run."""
        self.mixes.append(mix)
        return workloads.Workload(seed=self.seed, mix=mix, schema_ids=self.schema_ids)

    def send(self, drafts: Iterable[workloads.Draft]) -> None:
        """Put commands on their topics."""
        self.sent += self.log.send(drafts)

    def start(
        self,
        name: str,
        *,
        kill_point: str | None = None,
        variant: str | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> processes.Part:
        """Start a part, with a kill point or as a broken variant perhaps."""
        part = processes.Part(
            name,
            self.settings.model_copy(update=dict(settings or {})),
            log=self._directory / f"{next(self._numbers):03}-{name}.log",
            kill_point=kill_point,
            variant=variant,
        )
        self._parts.append(part)
        return part

    def die(self, part: processes.Part, commands: workloads.Workload) -> None:
        """Keep up the load until a part has died at its kill point."""
        deadline = time.monotonic() + processes.DEADLINE_S
        while part.is_running and time.monotonic() < deadline:
            self.send(commands.take(_SLICE))
            with contextlib.suppress(AssertionError):
                waiting.wait_until(lambda: not part.is_running, deadline_s=_SLICE_S)
        self.note(part.await_kill_point())

    def under_load(self, commands: workloads.Workload) -> AbstractContextManager[None]:
        """Send commands for as long as the block takes."""
        return meanwhile.doing(functools.partial(self._feed, commands))

    def _feed(self, commands: workloads.Workload, done: threading.Event) -> None:
        while not done.wait(_SLICE_S):
            self.send(commands.take(_SLICE))

    def await_progress(self, part: processes.Part, *, batches: int = 1) -> None:
        """Wait until a worker has handled so many more batches than until now."""
        enough = len(part.lines("worker.batch")) + batches
        waiting.wait_until(
            lambda: len(part.lines("worker.batch")) >= enough or not part.is_running, deadline_s=processes.DEADLINE_S
        )
        assert part.is_running, part.log.read_text()[-2000:]

    @property
    def kills(self) -> int:
        """How often a part or a service was killed or halted."""
        return self._struck_services + sum(part.strikes for part in self._parts)

    def strike(self, service: process.Service) -> None:
        """Kill a service by SIGKILL."""
        service.kill()
        self._struck_services += 1

    def stand_still(self, stack: devstack.Stack, *, for_s: float) -> None:
        """Halt all parts and services where they are for so long, as a machine does that is paused."""
        running = [part for part in self._parts if part.is_running]
        servers = [pid for service in stack.services for pid in processes.tree(service.pid)]
        for part in running:
            part.freeze()
        for server in servers:
            os.kill(server, signal.SIGSTOP)
        self._struck_services += len(stack.services)
        time.sleep(for_s)
        for server in servers:
            os.kill(server, signal.SIGCONT)
        for part in running:
            part.thaw()

    @property
    def started(self) -> int:
        """How many processes there have been."""
        return len(self._parts)

    def note(self, reached: str) -> None:
        """Say for the table what has really happened."""
        if reached not in self.reached:
            self.reached.append(reached)

    def drain(self, *, deadline_s: float = DRAIN_DEADLINE_S, parked: bool = True) -> None:
        """Wait until all that was sent is handled, and all events are out."""
        ends = self.log.ends(_COMMANDS)
        try:
            waiting.wait_until(lambda: self.is_drained(ends, parked=parked), deadline_s=deadline_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._state(ends)}") from None

    def drain_topics(self, *topics: str) -> None:
        """Wait until what was sent to these topics is handled."""
        ends = self.log.ends(topics)
        waiting.wait_until(
            lambda: all(self.handled().get(log, 0) >= end for log, end in ends.items()), deadline_s=DRAIN_DEADLINE_S
        )

    def is_drained(self, ends: Mapping[tuple[str, int], int], *, parked: bool = True) -> bool:
        """Tell whether the logs are handled up to these ends, and nothing waits or is unsent."""
        handled = self.handled()
        if any(handled.get(log, 0) < end for log, end in ends.items()):
            return False
        waiting_rows = "SELECT FROM parked UNION ALL" if parked else ""
        return not self.tables.rows(f"{waiting_rows} SELECT FROM outbox WHERE quarantined IS NULL LIMIT 1")

    def handled(self) -> dict[tuple[str, int], int]:
        """Return how far each log is handled."""
        prefix = self.settings.topic_prefix
        return {
            (topic.removeprefix(prefix), partition): next_offset
            for topic, partition, next_offset in self.tables.rows("SELECT topic, partition, next_offset FROM positions")
        }

    def kill_all(self) -> None:
        """End all parts at once."""
        for part in self._parts:
            if part.is_running:
                part.kill()

    def stop(self) -> None:
        """Stop all parts in order; each must end well."""
        for part in self._parts:
            if part.is_running:
                code = part.stop()
                assert code == 0, f"{part.name} ended with {code}: {part.log.read_text()[-2000:]}"

    def observe(self) -> observation.Observation:
        """Look at everything."""
        self.seen = observation.observe(
            self.log, self.tables, prefix=self.settings.topic_prefix, schema_ids=self.schema_ids
        )
        return self.seen

    def violations(self, *, blind_to: Collection[str] = ()) -> list[observation.Violation]:
        """Return what the oracle finds wrong, but for checks that make no sense here."""
        self.found = [one for one in checks.violations(self.observe()) if one.check not in blind_to]
        return self.found

    def verify(self) -> None:
        """Drain, stop, and fail if anything is wrong, or if nothing was done to the system."""
        self.drain()
        self.stop()
        self.check()

    def check(self, *, blind_to: Collection[str] = ()) -> None:
        """Fail if anything is wrong, or if nothing was done to the system."""
        assert self.reached, "this cell has reached nothing"
        found = self.violations(blind_to=blind_to)
        assert not found, f"seed {self.seed}, {len(found)} violations, logs in {self._directory}:\n" + "\n".join(
            f"{one.check}: {one.text}" for one in found[:20]
        )

    def close(self) -> None:
        """End everything that still runs, and free what the services keep."""
        self.kill_all()
        self.tables.close()
        client = admin.AdminClient({"bootstrap.servers": self.settings.kafka_bootstrap_servers})
        known = client.list_topics(timeout=10).topics
        mine = [name for name in known if name.startswith(self.settings.topic_prefix)]
        for done in client.delete_topics(mine).values():
            with contextlib.suppress(confluent_kafka.KafkaException):
                done.result()

    def _state(self, ends: Mapping[tuple[str, int], int]) -> str:
        handled = self.handled()
        behind = {log: (handled.get(log), end) for log, end in ends.items() if handled.get(log, 0) < end}
        parked = self.tables.rows("SELECT state, queue, expires_at - now() FROM parked LIMIT 5")
        (unsent,) = self.tables.rows("SELECT count(*) FROM outbox")[0]
        tails = "\n".join(f"--- {part.log}\n{part.log.read_text()[-1500:]}" for part in self._parts[-3:])
        return f"behind: {behind}; parked: {parked}; outbox: {unsent}\n{tails}"


@contextlib.contextmanager
def running(settings: config.Settings, *, directory: Path, seed: int) -> Iterator[System]:
    """Lend a system; whatever happens, nothing of it goes on afterwards."""
    with contextlib.closing(System(settings, directory=directory, seed=seed)) as system:
        yield system
