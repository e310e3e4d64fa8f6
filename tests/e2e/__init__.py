"""The services as processes; the tests that are worth reading first."""
