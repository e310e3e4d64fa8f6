"""What a decision is: pure functions over states, thresholds and time. The Lua scripts answer the same."""
