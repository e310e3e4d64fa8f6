"""The scheduler's state in Redis: one method a script, one script a transition."""
