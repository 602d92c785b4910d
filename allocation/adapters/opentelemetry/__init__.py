"""Traces in OpenTelemetry's format: spans that are made once their work is over, of what the parts say.

Loaded only where the environment asks for traces.
"""
