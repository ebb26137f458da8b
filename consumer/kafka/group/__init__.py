"""Where a group is in its partitions: how it begins, goes on, and what it commits."""
