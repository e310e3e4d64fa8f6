"""The scheduler as its callers and workers meet it, over real sockets."""
