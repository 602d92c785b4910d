"""Which errors a user or an operator can mend: those become one sentence, all others are bugs with a traceback."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

import typer

USER_ERROR = 2  # the shell's and Typer's own code for wrong usage; a restart alone will not help
FAILED = 1


class Failure(NamedTuple):
    """What to tell the user, and the exit code."""

    sentence: str
    status: int


def give_up(sentence: str, *, status: int = FAILED) -> NoReturn:
    """End the command with a sentence."""
    typer.echo(f"allocation: {sentence}", err=True)
    raise typer.Exit(status)


def explain(error: BaseException) -> Failure | None:
    """Return what to say of an error, or None for one that nobody has foreseen."""
    if isinstance(error, _user_errors()):
        return Failure(str(error), USER_ERROR)
    if isinstance(error, _failures()):
        return Failure(_in_one_line(error), FAILED)
    return _of_kafka_settings(error)


def _in_one_line(error: BaseException) -> str:
    """Join what drivers spread over lines; the tail of a server's log stays as it is."""
    from allocation.service_layer import ports  # noqa: PLC0415 - see below

    return " ".join(str(error).split()) if isinstance(error, ports.Retryable) else str(error)


# Imported when something has failed: what these modules need takes longer to load than all the rest.


def _user_errors() -> tuple[type[Exception], ...]:
    from allocation import config  # noqa: PLC0415
    from allocation.adapters.avro import registry  # noqa: PLC0415
    from allocation.adapters.kafka import clients  # noqa: PLC0415
    from allocation.adapters.postgres import rebuilding, schema  # noqa: PLC0415

    return (
        config.SettingsError,
        clients.BadSetting,
        registry.BadSetting,
        schema.NotInitialised,
        rebuilding.BadSchema,
    )


def _failures() -> tuple[type[Exception], ...]:
    from allocation.adapters.avro import registry  # noqa: PLC0415
    from allocation.adapters.kafka import errors, topics  # noqa: PLC0415
    from allocation.entrypoints import listening  # noqa: PLC0415
    from allocation.service_layer import ports  # noqa: PLC0415
    from allocation.service_layer.operations import schema_contract  # noqa: PLC0415
    from allocation.service_layer.operations.replay import ports as replaying  # noqa: PLC0415
    from allocation.service_layer.relaying import ports as relaying  # noqa: PLC0415

    return (
        ports.Retryable,
        ports.MembershipLost,
        errors.KafkaRefused,
        topics.TopicMismatch,
        registry.SchemaRejected,
        registry.SchemaNotRegistered,
        schema_contract.ContractBroken,
        listening.CannotListen,
        relaying.RelayStopped,
        replaying.CannotReplay,
    )


def _of_kafka_settings(error: BaseException) -> Failure | None:
    """Explain librdkafka's refusal of its settings, which it checks when a client is made."""
    import confluent_kafka  # noqa: PLC0415

    if not isinstance(error, confluent_kafka.KafkaException):
        return None
    found = error.args[0]
    if found.code() != confluent_kafka.KafkaError._INVALID_ARG:  # noqa: SLF001 - marks a local code
        return None
    return Failure(
        f"the Kafka client does not take its settings: {found.str()}; see ALLOCATION_KAFKA_CONFIG", USER_ERROR
    )
