"""What the counters say, worked out for people: numbers, warnings, and reasons in words."""
