"""What a worker reports about itself: its figures, its health, and the port that serves both."""
