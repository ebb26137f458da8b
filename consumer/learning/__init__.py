"""The worker's side of the counters: what it counts, what it knows, and what it repairs."""
