"""Structured logs without secrets, and metrics that cost the hot path nothing."""

from gigarouter.telemetry.logs import RequestLog, configure
from gigarouter.telemetry.meters import Meters

__all__ = ["Meters", "RequestLog", "configure"]
