"""The whole suite under faults, judged from outside: see docs/testing.md."""
