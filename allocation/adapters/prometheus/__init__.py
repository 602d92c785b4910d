"""Metrics in the Prometheus format; nothing else imports prometheus-client."""
