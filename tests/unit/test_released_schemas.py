"""The folder of the released versions, and the command that holds a change against them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer import testing

from allocation.adapters.avro import schemas
from allocation.entrypoints.cli import schemas as cli
from allocation.service_layer.operations import schema_contract

if TYPE_CHECKING:
    from collections.abc import Sequence

PROJECT = Path(__file__).parents[2] / "schemas"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's schemas, taken for the project's."""
    monkeypatch.setattr(schemas, "_IN_WHEEL", shutil.copytree(PROJECT, tmp_path / "schemas"))
    return tmp_path / "schemas"


def change(directory: Path, *, fields: Sequence[dict[str, Any]] = (), without: str = "") -> None:
    file = directory / "allocate.avsc"
    definition = json.loads(file.read_text())
    kept = [field for field in definition["fields"] if field["name"] != without]
    file.write_text(json.dumps(definition | {"fields": [*kept, *fields]}))


def run(*arguments: str) -> testing.Result:
    return testing.CliRunner().invoke(cli.app, arguments)


def test_the_schemas_of_the_project_pass_without_any_service() -> None:
    result = run("check")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines()] == [
        *("CreateBatch", "ChangeBatchQuantity", "Allocate", "LineAllocated", "LineDeallocated", "OutOfStock")
    ]


def test_a_change_that_breaks_nobody_passes_and_is_shown(directory: Path) -> None:
    change(directory, fields=[{"name": "colour", "type": ["null", "string"], "default": None}])
    result = run("check")
    assert result.exit_code == 0
    assert "Allocate             v1: changed, compatible\n" in result.output
    assert run("diff", "Allocate").output == (
        'Allocate, v1 → now\n  + colour: {"type": ["null", "string"], "default": null}\n'
    )


def test_a_change_that_breaks_somebody_is_refused_with_the_field_named(directory: Path) -> None:
    change(directory, fields=[{"name": "colour", "type": "string"}], without="qty")
    result = run("check")
    assert result.exit_code == 1
    assert "refused: Allocate.colour breaks v1 (BACKWARD): " in result.output
    assert "refused: Allocate.qty breaks v1 (FORWARD): " in result.output


def test_a_change_is_held_against_every_released_version(directory: Path) -> None:
    released = directory / "released/allocate"
    change(directory, fields=[{"name": "colour", "type": ["null", "string"], "default": None}])
    shutil.copy(directory / "allocate.avsc", released / "v2.avsc")
    change(directory, without="colour")
    change(directory, fields=[{"name": "colour", "type": ["null", "int"], "default": None}])
    result = run("check")
    assert (result.exit_code, result.output.count("refused: Allocate.colour breaks v2")) == (1, 2)
    assert "breaks v1" not in result.output


def test_a_record_that_is_new_is_not_released_yet(directory: Path) -> None:
    shutil.rmtree(directory / "released/allocate")
    assert "Allocate             not released yet\n" in run("check").output
    assert run("diff", "Allocate").output == "Allocate: no version to compare with\n"


def test_a_released_schema_that_is_gone_is_missed(directory: Path) -> None:
    (directory / "allocate.avsc").unlink()
    with pytest.raises(schema_contract.ContractBroken, match=r"schemas/allocate\.avsc: released, and gone"):
        schemas.released()


@pytest.mark.parametrize("name", ["v3.avsc", "v01.avsc", "latest.avsc"])
def test_what_is_no_next_version_is_named(directory: Path, name: str) -> None:
    shutil.copy(directory / "allocate.avsc", directory / "released/allocate" / name)
    with pytest.raises(schema_contract.ContractBroken, match=f"released/allocate has .*{name.partition('.')[0]}"):
        schemas.released()


def test_what_there_is_not_is_told_with_what_there_is() -> None:
    for arguments in (("diff", "Order"), ("diff", "Allocate", "--from", "v9")):
        result = run(*arguments)
        assert result.exit_code == 2
        assert "there are" in result.output
