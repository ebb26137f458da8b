"""The commands about routes."""
