"""Apache Kafka, by way of confluent-kafka (librdkafka)."""
