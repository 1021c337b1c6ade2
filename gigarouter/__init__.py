"""The composition root: settings, wiring, one module per process, and the commands. No other package imports it."""

__version__ = "2026.11.0"
