"""A group's offsets: where it begins to read, where it continues, and what it commits."""
