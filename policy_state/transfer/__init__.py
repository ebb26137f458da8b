"""Whole policies as documents: written, read, and imported into another store."""
