"""Where buckets live: Redis, and for the time of its failure this process."""
