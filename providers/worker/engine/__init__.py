"""Queues and packs inputs, and runs them on the device."""
