"""Avro in the Confluent wire format, and the registry that numbers its schemas."""
