"""What an algorithm does on recorded or made-up texts, without a stream."""
