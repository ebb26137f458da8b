"""Inference: a mixed batch of texts, each of them to its own exit, as fast as can be."""
