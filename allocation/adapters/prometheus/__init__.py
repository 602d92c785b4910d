"""Metrics in the Prometheus format: described, counted from what the parts say, looked up at each scrape."""
