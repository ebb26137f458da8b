"""Whether what a store holds hangs together, and counting again what it has lost."""
