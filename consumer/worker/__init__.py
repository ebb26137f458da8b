"""A worker: its start, its batches, the partitions that stand still in it, and its end."""
