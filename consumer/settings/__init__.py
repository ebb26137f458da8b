"""What can be set, where values come from, and what messages say about wrong ones."""
