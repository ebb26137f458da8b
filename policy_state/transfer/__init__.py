"""Whole policies as documents: written, read, and brought into another store."""
