"""Checks whether the contents of a store are consistent, and counts again what it has lost."""
