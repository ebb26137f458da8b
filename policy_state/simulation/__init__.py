"""What an algorithm does on recorded or synthetic texts, without a stream."""
