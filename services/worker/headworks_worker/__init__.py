"""The worker: makes it happen."""
