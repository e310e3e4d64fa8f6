"""The scheduler: decides what happens next."""
