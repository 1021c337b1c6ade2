"""Kind ``worker``: the broker's end of our own worker's protocol. The worker itself is :mod:`providers.worker`."""
