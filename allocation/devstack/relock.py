"""Write `artifacts.lock.toml` anew: `python -m allocation.devstack.relock`.

Run after a change of the roots or of the registry's version in that file; review the difference.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import jgo
import jgo.maven

from allocation.devstack import artifacts, downloads

_HEADER = """\
# Every file that the local stack runs on Java, with its SHA-256. Made by
# `python -m allocation.devstack.relock` from the roots and the registry's coordinate.
# kafka-clients stands among the roots, or an older one would be chosen, with which no broker runs.
"""


def main() -> None:
    """Resolve the roots, hash every file, write the lock."""
    lock = artifacts.read_lock()
    resolved = jgo.resolve("+".join(lock.kafka_roots))
    kafka = {f"{jar.groupId}:{jar.artifactId}:{jar.version}": jar.resolve() for jar in resolved}
    with tempfile.TemporaryDirectory() as scratch:
        context = jgo.maven.MavenContext(repo_cache=Path(scratch))
        registry = downloads.locate(lock.registry.coordinate, context).resolve()
        lines = (
            _HEADER,
            "[kafka]",
            "roots = [",
            *(f"    {json.dumps(root)}," for root in lock.kafka_roots),
            "]\n",
            "[kafka.sha256]",
            *(f'"{name}" = "{downloads.sha256(path)}"' for name, path in sorted(kafka.items())),
            "\n[registry.sha256]",
            f'"{lock.registry.coordinate}" = "{downloads.sha256(registry)}"',
        )
        artifacts.LOCK_FILE.write_text("\n".join(lines) + "\n")
    sys.stdout.write(f"{artifacts.LOCK_FILE}: {len(kafka)} files of Kafka and the registry\n")


if __name__ == "__main__":
    main()
