"""From texts to a model folder: pre-training, fine-tuning, and the papers that come with it."""
