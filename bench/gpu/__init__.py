"""The worker on a GPU in one run of nine minutes: that it is right, how fast it is, how it fails, what it costs."""
