"""Registers providers, endpoints, models and credentials for operators, and keeps a copy of them in memory."""
