"""What the choice of exits costs and gains, on recorded answers."""
