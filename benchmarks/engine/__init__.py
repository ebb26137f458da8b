"""How fast the engine is, what its parts take, and what others take for the same."""
