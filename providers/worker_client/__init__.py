"""Kind ``worker``: the broker's end of our own worker's wire. The worker itself is :mod:`providers.worker`."""
