"""A worker: its start, its batches, what stands still in it, and its end."""
