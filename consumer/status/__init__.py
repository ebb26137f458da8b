"""Whether a group of workers is well, and what needs a person."""
