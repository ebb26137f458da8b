"""What the counters say, worked out for people: numbers, doubts, and reasons in words."""
