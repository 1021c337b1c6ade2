"""The in-house embedding server: one process, one model, and the same vector whatever else is in the batch.

It runs alone: it knows no broker, no store and no money, and nothing here is imported by them but the protocol
(:mod:`providers.worker.frames`). torch and transformers are imported by the modules that need them, so reading the
protocol or the scheduler costs neither.
"""
