"""The model, the mapping, the repository and the unit of work of "Architecture Patterns with Python".

As the book has them in its chapters 2, 6, 7 and 9 (with names of SQLAlchemy 2): what a reader would write.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import sqlalchemy
from sqlalchemy import Column, Date, ForeignKey, Integer, String, Table, orm

if TYPE_CHECKING:
    from datetime import date

registry = orm.registry(metadata=sqlalchemy.MetaData(schema="book"))

order_lines = Table(
    "order_lines",
    registry.metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("sku", String(255)),
    Column("qty", Integer, nullable=False),
    Column("orderid", String(255)),
)
products = Table(
    "products",
    registry.metadata,
    Column("sku", String(255), primary_key=True),
    Column("version_number", Integer, nullable=False, server_default="0"),
)
batches = Table(
    "batches",
    registry.metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("reference", String(255)),
    # The book has no index here; without one, it would be a thousand batches that are read for each command.
    Column("sku", ForeignKey("book.products.sku"), index=True),
    Column("_purchased_quantity", Integer, nullable=False),
    Column("eta", Date, nullable=True),
)
allocations = Table(
    "allocations",
    registry.metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("orderline_id", ForeignKey("book.order_lines.id")),
    Column("batch_id", ForeignKey("book.batches.id"), index=True),
)


@dataclass(unsafe_hash=True)
class OrderLine:
    orderid: str
    sku: str
    qty: int


@dataclass(frozen=True)
class Allocated:
    orderid: str
    sku: str
    qty: int
    batchref: str


class Batch:
    def __init__(self, ref: str, sku: str, qty: int, eta: date | None) -> None:
        self.reference = ref
        self.sku = sku
        self.eta = eta
        self._purchased_quantity = qty
        self._allocations: set[OrderLine] = set()

    def __gt__(self, other: Batch) -> bool:
        if self.eta is None:
            return False
        if other.eta is None:
            return True
        return self.eta > other.eta

    def allocate(self, line: OrderLine) -> None:
        if self.can_allocate(line):
            self._allocations.add(line)

    @property
    def allocated_quantity(self) -> int:
        return sum(line.qty for line in self._allocations)

    @property
    def available_quantity(self) -> int:
        return self._purchased_quantity - self.allocated_quantity

    def can_allocate(self, line: OrderLine) -> bool:
        return self.sku == line.sku and self.available_quantity >= line.qty


class Product:
    def __init__(self, sku: str, batches: list[Batch], version_number: int = 0) -> None:
        self.sku = sku
        self.batches = batches
        self.version_number = version_number
        self.events: list[Allocated] = []

    def allocate(self, line: OrderLine) -> str | None:
        try:
            batch = next(b for b in sorted(self.batches) if b.can_allocate(line))
        except StopIteration:
            return None
        batch.allocate(line)
        self.version_number += 1
        self.events.append(Allocated(line.orderid, line.sku, line.qty, batch.reference))
        return batch.reference


def start_mappers() -> None:
    lines_mapper = registry.map_imperatively(OrderLine, order_lines)
    batches_mapper = registry.map_imperatively(
        Batch,
        batches,
        properties={"_allocations": orm.relationship(lines_mapper, secondary=allocations, collection_class=set)},
    )
    registry.map_imperatively(Product, products, properties={"batches": orm.relationship(batches_mapper)})

    @sqlalchemy.event.listens_for(Product, "load")
    def receive_load(product: Product, _: Any) -> None:
        product.events = []


class ProductRepository:
    def __init__(self, session: orm.Session) -> None:
        self._session = session
        self.seen: set[Product] = set()

    def get(self, sku: str) -> Product | None:
        product = self._session.query(Product).filter_by(sku=sku).first()
        if product is not None:
            self.seen.add(product)
        return product


class UnitOfWork:
    products: ProductRepository

    def __init__(self, session_factory: orm.sessionmaker[orm.Session]) -> None:
        self._session_factory = session_factory

    def __enter__(self) -> Self:
        self._session = self._session_factory()
        self.products = ProductRepository(self._session)
        return self

    def __exit__(self, *_: object) -> None:
        self._session.rollback()
        self._session.close()

    def commit(self) -> None:
        self._session.commit()

    def collect_new_events(self) -> list[Allocated]:
        return [product.events.pop(0) for product in self.products.seen for _ in range(len(product.events))]
