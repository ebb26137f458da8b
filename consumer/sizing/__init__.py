"""How much hardware a stream needs, worked out from measured times."""
