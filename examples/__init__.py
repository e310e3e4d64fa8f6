"""Examples: each folder is one, run by the demo and by the tests."""
