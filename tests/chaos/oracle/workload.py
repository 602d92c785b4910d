"""A stream of commands as hard as life: seeded, so that the same seed gives the same stream."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.chaos.oracle import avro

if TYPE_CHECKING:
    from collections.abc import Callable

Headers = tuple[tuple[str, bytes | None], ...]
Fields = dict[str, Any]

_FIRST_DAY = dt.date(2030, 1, 1)


class Draft(NamedTuple):
    """A message for a command topic (named without its prefix); `why` says what it is there for."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    why: str


@dataclass(frozen=True, slots=True)
class Mix:
    """How often each kind of command comes, by weight."""

    skus: int
    weights: dict[str, int]
    orders: tuple[int, int] = (1, 10)
    stock: tuple[int, int] = (50, 400)


MIXES = {
    "allocate": Mix(12, {"allocate": 95, "create": 5}),
    "storm": Mix(4, {"allocate": 60, "create": 5, "change": 35}, stock=(20, 120)),
    "mixed": Mix(
        10,
        {
            "allocate": 50, "create": 5, "change": 10, "same_again": 7, "other_id": 4, "id_reused": 3, "rubbish": 8,
            "ahead": 3, "nameless": 5, "elsewhere": 5,
        },
    ),
    # Commands of one sku on several partitions, so that two workers want the same product at once.
    "contended": Mix(2, {"elsewhere": 90, "create": 5, "change_elsewhere": 10}, stock=(20, 60)),
    "plenty": Mix(3, {"allocate": 1}, stock=(10**6, 10**6)),
    # A command and the batch that it waits for, on different partitions at the same time.
    "pairs": Mix(1, {"pair": 1}),
}  # fmt: skip


class Workload:
    """Makes the stream; `schema_ids` are the registered ids by topic."""

    def __init__(self, *, seed: int, mix: str, schema_ids: dict[str, int], wait_for_nothing: bool = False) -> None:
        self._random = random.Random(seed)
        self._name_of_mix = mix
        self._mix = MIXES[mix]
        self._ids = schema_ids
        self._wait_for_nothing = wait_for_nothing
        self._skus = [f"{mix}-{number}" for number in range(self._mix.skus)]
        self._weights = [1 / (1 + number) for number in range(self._mix.skus)]
        self._batches: list[tuple[str, str]] = []
        self._sent: list[Draft] = []
        self._due: list[tuple[int, Draft]] = []
        self._numbers = 0

    def first(self) -> list[Draft]:
        """Return one batch for each sku: without any, all else would wait."""
        return [self._keep(self._create(sku)) for sku in self._skus]

    def take(self, count: int) -> list[Draft]:
        """Return the next commands."""
        return [self._keep(self._next()) for _ in range(count)]

    def rest(self) -> list[Draft]:
        """Return the batches that commands still wait for."""
        due, self._due = self._due, []
        return [self._keep(draft) for _, draft in due]

    def _next(self) -> Draft:
        if self._due and self._due[0][0] <= len(self._sent):
            return self._due.pop(0)[1]
        kinds = self._mix.weights
        kind = self._random.choices(list(kinds), list(kinds.values()))[0]
        return self._makers[kind](self)

    def _keep(self, draft: Draft) -> Draft:
        self._sent.append(draft)
        return draft

    def _sku(self) -> str:
        return self._random.choices(self._skus, self._weights)[0]

    def _name(self, what: str) -> str:
        self._numbers += 1
        return f"{self._name_of_mix}-{what}-{self._numbers}"

    def _create(self, sku: str | None = None) -> Draft:
        sku = sku or self._sku()
        fields: Fields = {
            "ref": self._name("batch"),
            "sku": sku,
            "qty": self._random.randint(*self._mix.stock),
            "eta": self._random.choice([None, _FIRST_DAY + dt.timedelta(self._random.randrange(30))]),
        }
        self._batches.append((fields["ref"], sku))
        return self._draft("create_batch", fields, key=sku, why="create")

    def _line(self, sku: str | None = None) -> Fields:
        return {
            "orderid": self._name("order"),
            "sku": sku or self._sku(),
            "qty": self._random.randint(*self._mix.orders),
        }

    def _allocate(self) -> Draft:
        line = self._line()
        return self._draft("allocate", line, key=line["sku"], why="allocate")

    def _change(self) -> Draft:
        ref, sku = self._random.choice(self._batches)
        named = self._random.choice([sku, sku, None])
        fields: Fields = {"batchref": ref, "qty": self._random.randint(0, self._mix.stock[1]), "sku": named}
        return self._draft("change_batch_quantity", fields, key=named or ref, why="change")

    def _change_elsewhere(self) -> Draft:
        return self._change()._replace(key=self._random.randbytes(8), why="change_elsewhere")

    def _elsewhere(self) -> Draft:
        return self._allocate()._replace(key=self._random.randbytes(8), why="elsewhere")

    def _nameless(self) -> Draft:
        return self._allocate()._replace(headers=(), why="nameless")

    def _ahead(self) -> Draft:
        """Name a sku, or a batch, that comes later or never."""
        sku = self._name("late")
        create = self._create(sku)
        batch = self._batches.pop()
        if self._wait_for_nothing or self._random.random() < 0.8:
            self._due.append((len(self._sent) + self._random.randint(1, 40), create))
            self._due.sort(key=lambda due: due[0])
        if self._random.random() < 0.3:
            named = self._random.choice([sku, None])
            fields: Fields = {"batchref": batch[0], "qty": self._random.randint(0, 50), "sku": named}
            return self._draft("change_batch_quantity", fields, key=named or batch[0], why="ahead")
        return self._draft("allocate", self._line(sku), key=sku, why="ahead")

    def _pair(self) -> Draft:
        """Name a sku whose batch comes next."""
        sku = self._name("pair")
        self._due.append((0, self._create(sku)._replace(key=self._random.randbytes(8))))
        return self._draft("allocate", self._line(sku), key=sku, why="pair")

    def _same_again(self) -> Draft:
        return self._random.choice(self._sent)._replace(why="same_again")

    def _other_id(self) -> Draft:
        draft = self._random.choice(self._sent)
        return draft._replace(headers=self._headers(self._name("id")), why="other_id")

    def _id_reused(self) -> Draft:
        earlier = self._random.choice(self._sent)
        return self._allocate()._replace(headers=earlier.headers, why="id_reused")

    def _rubbish(self) -> Draft:
        good = self._random.choice([self._allocate, self._create])()
        assert good.value is not None
        value = self._random.choice(_SPOILERS)(good.value, self._random)
        if good.topic == "create_batch":
            self._batches.pop()
        headers = self._random.choice([good.headers, ()])
        return good._replace(value=value, headers=headers, why="rubbish")

    def _draft(self, topic: str, fields: Fields, *, key: str, why: str) -> Draft:
        value = avro.encode(topic, fields, self._ids[topic])
        return Draft(topic, key.encode(), value, self._headers(self._name("id")), why)

    def _headers(self, name: str) -> Headers:
        return (("ce_id", name.encode()), ("ce_source", b"chaos"), ("ce_specversion", b"1.0"))

    _makers: dict[str, Callable[[Workload], Draft]] = {  # noqa: RUF012 - shared, and never changed
        "allocate": _allocate, "create": _create, "change": _change, "change_elsewhere": _change_elsewhere,
        "elsewhere": _elsewhere, "nameless": _nameless, "ahead": _ahead, "same_again": _same_again,
        "other_id": _other_id, "id_reused": _id_reused, "rubbish": _rubbish, "pair": _pair,
    }  # fmt: skip


# Nothing that comes out of these can be read as a command.
_SPOILERS: tuple[Callable[[bytes, random.Random], bytes | None], ...] = (
    lambda value, rng: value[: rng.randrange(len(value))],
    lambda _value, rng: b"\xff" + rng.randbytes(rng.randrange(60)),
    lambda _value, _rng: None,
    lambda _value, _rng: b"",
    lambda value, _rng: b"\x00\x7f\xff\xff\xfe" + value[5:],
    lambda value, _rng: value + b"\x00more",
    lambda _value, _rng: b'{"orderid": "o1", "sku": "JSON", "qty": 1}',
)
