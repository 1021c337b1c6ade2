"""The in-house embedding server: one process, one model, exact vectors whatever else is in the step.

It runs alone: it knows no broker, no store, no money, and nothing here is imported by them but the wire
(:mod:`providers.worker.frames`). torch and transformers are imported by the modules that need them, so reading the
wire or the scheduler costs neither.
"""
