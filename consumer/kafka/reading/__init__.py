"""From what brokers send to records in order, whatever is wrong with a batch of them."""
