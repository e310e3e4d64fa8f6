"""The scheduler's rules, free of transport, store and clock."""
