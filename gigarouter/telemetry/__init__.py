"""What the product says about itself: structured logs without secrets, and metrics that cost the hot path nothing."""

from gigarouter.telemetry.logs import RequestLog, configure_logs
from gigarouter.telemetry.metrics import Metrics

__all__ = ["Metrics", "RequestLog", "configure_logs"]
