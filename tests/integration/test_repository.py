"""What of a product is loaded, and how little of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from allocation.adapters.postgres import prepared, reads, repository, writes
from allocation.domain import commands, model
from allocation.service_layer import envelopes, messagebus, messages, unit_of_work
from tests import builders, installations
from tests.fakes import serde

if TYPE_CHECKING:
    from collections.abc import Iterator

    import sqlalchemy


MANY = 500


def handle(installation: installations.PostgresInstallation, *given: commands.Command) -> list[str | None]:
    with installation.begin() as uow:
        uow.claim([builders.a_message(command) for command in given])
        bus = messagebus.MessageBus(uow)
        results = [bus.handle(command) for command in given]
        uow.commit()
    return results


def a_batch_of_many(installation: installations.PostgresInstallation) -> list[commands.Allocate]:
    lines = [commands.Allocate(f"o{number:03}", "LAMP", 1) for number in range(MANY)]
    handle(installation, commands.CreateBatch("b1", "LAMP", MANY), *lines)
    return lines


def loaded(installation: installations.PostgresInstallation, *given: commands.Command) -> dict[str, tuple[str, ...]]:
    """Return the orders that are loaded for these commands, by batch."""
    with installation.begin() as uow:
        uow.claim([builders.a_message(command) for command in given])
        product = uow.products.get("LAMP")
        assert product is not None
        return {batch.reference: tuple(line.orderid for line in batch.lines) for batch in product.batches}


def order_of(installation: installations.PostgresInstallation, ref: str = "b1") -> tuple[str, ...]:
    return tuple(line.orderid for line in installation.contents().batches[ref].lines)


def test_a_new_line_loads_no_other(installation: installations.PostgresInstallation) -> None:
    a_batch_of_many(installation)
    handle(installation, commands.CreateBatch("b2", "LAMP", 5))
    assert loaded(installation, builders.an_allocate()) == {"b2": ()}


def test_a_known_line_is_loaded_with_its_batch_although_that_is_full(
    installation: installations.PostgresInstallation,
) -> None:
    lines = a_batch_of_many(installation)
    assert loaded(installation, lines[7], lines[3], builders.an_allocate()) == {"b1": ("o003", "o007")}
    assert handle(installation, lines[7]) == ["b1"]


def test_a_shrinking_batch_loads_the_lines_that_must_go_and_no_more(
    installation: installations.PostgresInstallation,
) -> None:
    a_batch_of_many(installation)
    change = commands.ChangeBatchQuantity("b1", MANY - 2)
    assert loaded(installation, change) == {"b1": ("o498", "o499")}
    assert loaded(installation, commands.ChangeBatchQuantity("b1", MANY)) == {"b1": ()}


def test_large_lines_are_counted_by_their_pieces(installation: installations.PostgresInstallation) -> None:
    handle(
        installation,
        commands.CreateBatch("b1", "LAMP", 100),
        *(commands.Allocate(f"o{number}", "LAMP", 10) for number in range(10)),
    )
    assert loaded(installation, commands.ChangeBatchQuantity("b1", 80)) == {"b1": ("o8", "o9")}
    assert loaded(installation, commands.ChangeBatchQuantity("b1", 79)) == {"b1": ("o7", "o8", "o9")}
    assert len(loaded(installation, commands.ChangeBatchQuantity("b1", 0))["b1"]) == 10


def test_of_several_changes_the_smallest_decides_what_is_loaded(
    installation: installations.PostgresInstallation,
) -> None:
    a_batch_of_many(installation)
    given = [commands.ChangeBatchQuantity("b1", MANY - less) for less in (1, 3, 2)]
    assert loaded(installation, *given) == {"b1": ("o497", "o498", "o499")}


def test_lines_from_the_middle_do_not_disturb_the_order_in_which_others_go(
    installation: installations.PostgresInstallation,
) -> None:
    lines = a_batch_of_many(installation)
    handle(
        installation,
        lines[3],
        commands.ChangeBatchQuantity("b1", MANY - 2),
        lines[490],
        commands.ChangeBatchQuantity("b1", MANY + 1),
        commands.Allocate("new", "LAMP", 2),
        lines[499],
    )
    assert order_of(installation) == (*(line.orderid for line in lines[:498]), "new", "o499")


def test_a_batch_that_shrinks_to_nothing_and_grows_again_starts_anew(
    installation: installations.PostgresInstallation,
) -> None:
    a_batch_of_many(installation)
    handle(
        installation,
        commands.ChangeBatchQuantity("b1", 0),
        commands.ChangeBatchQuantity("b1", 5),
        commands.Allocate("o003", "LAMP", 1),
        commands.Allocate("new", "LAMP", 1),
    )
    assert order_of(installation) == ("o003", "new")


def test_lines_that_do_not_fit_any_more_move_on_with_their_places(
    installation: installations.PostgresInstallation,
) -> None:
    lines = a_batch_of_many(installation)
    handle(installation, commands.CreateBatch("b2", "LAMP", 2, builders.TODAY))
    handle(installation, commands.ChangeBatchQuantity("b1", MANY - 3))
    assert order_of(installation) == tuple(line.orderid for line in lines[:-3])
    assert order_of(installation, "b2") == ("o499", "o498")


def test_the_number_of_statements_does_not_depend_on_the_number_of_commands(
    installation: installations.PostgresInstallation,
) -> None:
    handle(installation, commands.CreateBatch("b1", "LAMP", 1000), commands.CreateBatch("b2", "LAMP", 1000))
    counts = [_statements(installation, count) for count in (30, 300)]  # a few go with the other changes
    assert counts[0] == counts[1]


def test_a_command_alone_takes_four_trips(
    installation: installations.PostgresInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle(installation, commands.CreateBatch("b1", "LAMP", 1000))
    processor = installations.a_processor(installation.begin)
    records = [_a_record(commands.Allocate(f"o{offset}", "LAMP", 1), offset) for offset in range(3)]
    for record in records[:2]:
        processor.process([record])  # a first one has no position yet, and the second one's statement is prepared
    trips: list[str] = []
    original = prepared.Cursor._send  # noqa: SLF001 - which every trip goes through

    def send(self: prepared.Cursor, text: str, values: prepared.Values) -> None:
        trips.append(text)
        original(self, text, values)

    monkeypatch.setattr(prepared.Cursor, "_send", send)
    processor.process(records[2:])
    assert len(trips) == 4
    assert trips[-1].endswith("COMMIT")


def test_behind_a_parked_command_only_what_that_concerns_is_read_again(
    installation: installations.PostgresInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [commands.Allocate("o1", sku, 1) for sku in ("LAMP", "VASE")]
    handle(installation, commands.CreateBatch("b1", "LAMP", 9), commands.CreateBatch("v1", "VASE", 9), *lines)
    with installation.begin() as uow:
        uow.claim([parked := builders.a_message(commands.Allocate("o2", "LAMP", 1))])
        uow.park(unit_of_work.ParkedCommand("sku:LAMP", "poisoned", parked, "failed", "error", None))
        uow.commit()
    asked: list[set[str]] = []
    original = repository.PostgresProducts.read

    def read(self: repository.PostgresProducts, given: reads.Reads, skus: set[str], claimed: Any) -> None:
        asked.append(skus)
        original(self, given, skus, claimed)

    monkeypatch.setattr(repository.PostgresProducts, "read", read)
    with installation.begin() as uow:
        uow.claim([builders.a_message(line) for line in lines], heads_suffice=True)
        lamp, vase = uow.products.get("LAMP"), uow.products.get("VASE")
    assert asked == [{"LAMP", "VASE"}, {"LAMP"}]
    assert lamp is not None
    assert vase is not None
    assert [len(product.batches[0].lines) for product in (lamp, vase)] == [1, 1]


def _a_record(command: commands.Allocate, offset: int) -> messages.Record:
    value = serde.FakeSerde().serialize("Allocate", envelopes.command_fields(command))
    return builders.a_record(value, topic=installations.NAMES.allocate, offset=offset)


def _statements(installation: installations.PostgresInstallation, count: int) -> int:
    with installation.begin() as uow:
        counting: Any = _Counting(uow._cursor)  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to look on
        products = repository.PostgresProducts(counting)
        given: list[commands.Command] = [builders.an_allocate() for _ in range(count)]
        given += [commands.ChangeBatchQuantity("b1", 900), commands.ChangeBatchQuantity("b2", 900)]
        products.read(asked := reads.Reads(counting), {"LAMP"}, given)
        asked.send()
        product = products.get("LAMP")
        assert product is not None
        for command in given:
            if isinstance(command, commands.Allocate):
                product.allocate(model.OrderLine(command.orderid, command.sku, command.qty))
        products.flush(changes := writes.Writes(counting))
        changes.send_many()
        changes.finish("COMMIT")
        return int(counting.statements)


class _Counting:
    """A cursor that counts what is sent."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.statements = 0

    def execute(self, *statement: Any, **more: str) -> Any:
        self.statements += 1
        return self._cursor.execute(*statement, **more)

    def copy_expert(self, *statement: Any) -> Any:
        self.statements += 1
        return self._cursor.copy_expert(*statement)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._cursor)

    def fetchone(self) -> Any:
        return self._cursor.fetchone()


def test_names_of_any_characters_are_kept(installation: installations.PostgresInstallation) -> None:
    odd = ("a\tb", "\\N", "\\.", "ü\n", " ", "\u2028", "\U0001f411", "'\"%s{}", "x" * 255)
    handle(
        installation,
        *(commands.CreateBatch(name, name, 5) for name in odd),
        *(commands.Allocate(name, name, 1) for name in odd),
    )
    handle(installation, *(commands.ChangeBatchQuantity(name, 0) for name in odd[:4]))
    batches = installation.contents().batches
    assert {ref: [line.orderid for line in batch.lines] for ref, batch in batches.items()} == {
        **{name: [] for name in odd[:4]},
        **{name: [name] for name in odd[4:]},
    }


def test_batches_are_in_the_order_of_their_bytes_on_any_machine(
    installation: installations.PostgresInstallation,
) -> None:
    references = ["b", "B", "ä", "Z", "a10", "a9", "_"]
    handle(installation, *(commands.CreateBatch(ref, "LAMP", 1) for ref in references))
    got = handle(installation, *(builders.an_allocate() for _ in references))
    assert got == ["B", "Z", "_", "a10", "a9", "b", "ä"]


def test_the_last_line_of_defence_is_in_the_schema(
    installation: installations.PostgresInstallation, shared_database: sqlalchemy.Engine
) -> None:
    handle(installation, commands.CreateBatch("b1", "LAMP", 1))
    connection = shared_database.raw_connection()
    with pytest.raises(Exception, match="oversold"):
        connection.cursor().execute("UPDATE batches SET allocated = 2")
    connection.close()
