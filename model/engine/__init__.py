"""Inference: runs a mixed batch of texts, each to its own exit, as fast as possible."""
