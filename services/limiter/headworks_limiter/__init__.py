"""The limiter: decides how much may happen."""
