"""Programs that recipes call and no package registry has: they change what the test's servers ask for.

`redis-cli` speaks to the real server. `htpasswd` and `saslpasswd2` keep passwords in a file with a line for each user.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Sequence

SASL_FILE = "SASL_FILE"  # the environment variable that stands for where the real one has its own


def is_known(file: Path, user: str, password: str) -> bool:
    """Tell whether this is a user's password now."""
    return f"{user}:{password}" in file.read_text().splitlines()


def set_password(file: Path, user: str, password: str | None) -> None:
    """Give a user a password, or take the user away."""
    known = file.read_text().splitlines() if file.exists() else []
    others = [line for line in known if not line.startswith(f"{user}:")]
    file.write_text("".join(f"{line}\n" for line in [*others, *([f"{user}:{password}"] if password else [])]))


def redis_cli(arguments: Sequence[str]) -> None:
    """Run a command on the server of a URL."""
    options, command = _parsed(arguments, "-e", url="-u")
    client: Any = redis.Redis.from_url(options.url, decode_responses=True)
    sys.stdout.write(f"{client.execute_command(*command)}\n")


def htpasswd(arguments: Sequence[str]) -> None:
    """Add a user to a file (`-b FILE USER PASSWORD`), or delete one (`-D FILE USER`)."""
    _, (file, user, *password) = _parsed(arguments, "-b", "-D")
    set_password(Path(file), user, password[0] if password else None)


def saslpasswd2(arguments: Sequence[str]) -> None:
    """Set a user's password to what stands on standard input (`-p USER`)."""
    _, (user,) = _parsed(arguments, "-p")
    set_password(Path(os.environ[SASL_FILE]), user, sys.stdin.read().strip())


PROGRAMS = {"redis-cli": redis_cli, "htpasswd": htpasswd, "saslpasswd2": saslpasswd2}


def _parsed(arguments: Sequence[str], *flags: str, **options: str) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser()
    for flag in flags:
        parser.add_argument(flag, action="store_true")
    for name, option in options.items():
        parser.add_argument(option, dest=name)
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    parsed = parser.parse_args(arguments)
    return parsed, parsed.rest


if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](sys.argv[2:])
