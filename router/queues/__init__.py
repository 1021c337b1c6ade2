"""Says what waits in the product, since when, and whether that is late: queues, lags, and the runs of jobs."""
