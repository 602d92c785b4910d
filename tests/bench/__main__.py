"""`python -m tests.bench`: measure on a stack of its own, print a table, write JSON and a plot."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

from allocation import config, devstack
from allocation.devstack import profiles
from allocation.entrypoints import logs
from tests.bench import bench, options, plot, report


def main() -> None:
    """Run what the arguments ask for."""
    arguments = _arguments()
    logs.configure(config.load(log_level="error"))
    sizes = options.SMOKE if arguments.smoke else options.Sizes()
    if arguments.commands:
        sizes = dataclasses.replace(sizes, commands=arguments.commands)
    with tempfile.TemporaryDirectory(prefix="allocation-bench-") as directory:
        stack = devstack.Stack(Path(directory), profile=profiles.Profile.PRODUCTION, on_progress=_tell)
        with stack as running:
            on = bench.Bench(
                endpoints=running.endpoints,
                servers={"postgres": (running.postgres.pid,), "kafka": (running.kafka.pid,)},
                sizes=sizes,
            )
            rounds = 1 if arguments.smoke else arguments.rounds
            found = bench.run(on, arguments.scenario.split(","), rounds=rounds, tell=_tell, only=arguments.case)
    sys.stdout.write(f"{report.table(found)}\n")
    if arguments.json:
        arguments.json.write_text(report.as_json(found, sizes))
    if arguments.plot:
        arguments.plot.write_text(plot.svg(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--scenario", default=",".join(bench.SCENARIOS), help="letters with commas, all by default")
    parser.add_argument("--case", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--commands", type=int, help="how many commands a drain gets")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    parser.add_argument("--smoke", action="store_true", help="little of everything: shows that it runs")
    return parser.parse_args()


def _tell(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
