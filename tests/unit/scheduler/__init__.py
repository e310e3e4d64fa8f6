"""The scheduler's rules, without a store."""
