"""Deliver otherwise than before, once nothing is left that was to be delivered in the old way.

What at_least_once leaves in the outbox may have been sent, and exactly_once would send it again; the other way
round, what was committed under the stronger promise is to be sent under it. So the outbox must be empty, quarantined
rows included. Both ways lead over the log with the checkpoints: no relay that uses transactions may be halted in the
middle of one, and Kafka's last checkpoint must be that of the last pass whenever exactly_once begins.
"""

from __future__ import annotations

import structlog

from allocation.service_layer.relaying import checkpoints, passes, ports, recovery

log = structlog.get_logger()


def switch(delivery: ports.Delivery, *, shard: int, outbox: ports.Outbox, transactions: ports.TransactionLog) -> None:
    """Deliver the rows of a shard so from now on; may be repeated after any error.

    Raises `RelayStopped` when rows are left, or database and topic cannot belong together, and `Retryable`.
    """
    _settle(shard, outbox, transactions)
    state = outbox.state()
    if delivery is ports.Delivery.EXACTLY_ONCE:
        recovery.check_is_counted(transactions.last_checkpoint(), state=state, shard=shard)
        transactions.send((), _checkpoint(state))
    rows = outbox.switch(delivery, state=state)
    if rows:
        raise ports.RelayStopped(_refusal(shard, rows, was=state.delivery, wanted=delivery))
    log.info("relay.switched", shard=shard, was=state.delivery, now=delivery)


def _settle(shard: int, outbox: ports.Outbox, transactions: ports.TransactionLog) -> None:
    """Delete what the last transaction has sent, if one was the last to send."""
    passes.ShardRelay(shard=shard, outbox=outbox, kafka_log=transactions, size=passes.PassSize()).recover()


def _checkpoint(state: ports.ShardState) -> checkpoints.Checkpoint:
    return checkpoints.Checkpoint(database_id=state.database_id, incarnation=state.incarnation, number=state.passes)


def _refusal(shard: int, rows: int, *, was: ports.Delivery, wanted: ports.Delivery) -> str:
    return (
        f"relay shard {shard} stops, since ALLOCATION_DELIVERY is {wanted} now, and its outbox still has {rows} rows "
        f"that are to be sent {was}. Set ALLOCATION_DELIVERY={was}, let the relay send them while the workers are "
        f"stopped, until `allocation status` shows an empty outbox (`allocation outbox list` shows what Kafka has "
        f"refused); then stop it, set ALLOCATION_DELIVERY={wanted}, and start all again"
    )
