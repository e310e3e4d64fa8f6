"""The scheduler's scripts against real Valkey."""
