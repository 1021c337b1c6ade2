"""The composition root: settings, wiring, one module per process, and the commands. Nobody imports it."""

__version__ = "2026.11.0"
