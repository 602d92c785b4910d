"""PostgreSQL from the binaries in a Python package, run by an ordinary user even for root."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from allocation.devstack import ports, process, profiles, programs

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "allocation"

# postmaster.pid, written by the server: the process id in the first line, its state in the eighth.
_PID_LINE = 0
_STATE_LINE = 7

_SETTINGS = {
    "listen_addresses": ports.HOST,
    # No socket file: its directory may not be writable, and its path is limited to 107 bytes.
    "unix_socket_directories": "",
    "max_connections": "200",
    # What the guarantees are stated for, and so what is tested.
    "fsync": "on",
    "synchronous_commit": "on",
    # The stack's log is read by people: the time and who.
    "log_line_prefix": "%m [%p] %a ",
    "timezone": "UTC",
}


class Postgres(process.Service):
    """A PostgreSQL server with one superuser and one database, both named allocation."""

    title = "PostgreSQL"
    # Fast shutdown: sessions are cut off and a checkpoint is written (SIGTERM would wait for them).
    stop_signal = signal.SIGINT
    # Immediate shutdown: the server takes its own children along.
    death_signal = signal.SIGQUIT
    gives_up_root = True

    def __init__(self, *, directory: Path, port: int, profile: profiles.Profile = profiles.Profile.SMALL) -> None:
        super().__init__(directory=directory, port=port)
        self._profile = profile

    @property
    def url(self) -> str:
        """Where SQLAlchemy connects to."""
        return f"postgresql+psycopg2://{_NAME}@{ports.HOST}:{self.port}/{_NAME}"

    def _prepare(self) -> None:
        data = self.directory / "data"
        if data.exists():
            return
        # Made beside and renamed when complete: an interrupted first start is no data directory.
        fresh = self.directory / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        self._run(
            (
                *(str(programs.postgres("initdb")), "--pgdata", str(fresh)),
                *("--username", _NAME, "--auth", "trust", "--no-sync", "--no-instructions"),
                *("--encoding", "UTF8", "--locale-provider", "builtin"),
                *("--builtin-locale", "C.UTF-8", "--locale", "C"),
            )
        )
        # In single-user mode, since no server is up yet.
        self._run(
            (str(programs.postgres("postgres")), "--single", "-D", str(fresh), "postgres"),
            stdin=f"CREATE DATABASE {_NAME}\n".encode(),
        )
        fresh.rename(data)

    def _command(self) -> tuple[str, ...]:
        settings = {**_SETTINGS, **self._profile.database_settings(), "port": str(self.port)}
        options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        return (str(programs.postgres("postgres")), "-D", str(self.directory / "data"), *options)

    def _is_ready(self) -> bool:
        try:
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        is_complete = len(lines) > _STATE_LINE and self.is_running
        return is_complete and lines[_PID_LINE] == str(self.pid) and lines[_STATE_LINE].startswith("ready")

    def _may_start_again(self) -> bool:
        # After SIGKILL the server's own children need a moment to notice and to let go.
        return self._printed("pre-existing shared memory block")
