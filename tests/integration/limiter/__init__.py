"""The limiter over a real socket and a real server."""
