"""Implementations of the statistics store: in memory, and in Redis or Valkey."""
