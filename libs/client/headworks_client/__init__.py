"""What callers import: limiter and scheduler clients, tasks and jobs, and the reader of completion events."""
