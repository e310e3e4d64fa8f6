"""What the tests share: backends, processes, waiting."""
