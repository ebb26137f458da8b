"""From texts to a model folder: pre-training, fine-tuning, the model card and its curves."""
