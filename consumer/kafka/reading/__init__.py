"""Turns what brokers send into records in order, even if a batch of them is damaged."""
