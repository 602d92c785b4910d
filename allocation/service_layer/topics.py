"""The names of the topics; the one place that knows the optional prefix."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Every topic of one installation; `prefix` stands before each name as it is."""

    prefix: str = ""

    @property
    def create_batch(self) -> str:
        """Commands that add a batch."""
        return f"{self.prefix}create_batch"

    @property
    def change_batch_quantity(self) -> str:
        """Commands that set a batch's purchased quantity."""
        return f"{self.prefix}change_batch_quantity"

    @property
    def allocate(self) -> str:
        """Commands that ask for room for an order line."""
        return f"{self.prefix}allocate"

    @property
    def line_allocated(self) -> str:
        """Events: a line got a batch."""
        return f"{self.prefix}line_allocated"

    @property
    def line_deallocated(self) -> str:
        """Events: a line lost its batch."""
        return f"{self.prefix}line_deallocated"

    @property
    def out_of_stock(self) -> str:
        """Events: a line found no room."""
        return f"{self.prefix}out_of_stock"

    @property
    def dead_letter(self) -> str:
        """Messages that were refused or could not be read."""
        return f"{self.prefix}allocation.dead_letter"

    @property
    def journal(self) -> str:
        """What was handled, in which order; a rebuild obeys it."""
        return f"{self.prefix}allocation.journal"

    @property
    def relay_checkpoint(self) -> str:
        """Which outbox rows a relay's last Kafka transaction held; one partition a shard."""
        return f"{self.prefix}allocation.relay_checkpoint"

    @property
    def commands(self) -> dict[str, str]:
        """Topic by the name of the record that comes in on it."""
        return {
            "CreateBatch": self.create_batch,
            "ChangeBatchQuantity": self.change_batch_quantity,
            "Allocate": self.allocate,
        }

    @property
    def events(self) -> dict[str, str]:
        """Topic by the name of the record that goes out on it."""
        return {
            "LineAllocated": self.line_allocated,
            "LineDeallocated": self.line_deallocated,
            "OutOfStock": self.out_of_stock,
        }
