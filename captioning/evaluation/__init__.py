"""Evaluate a model on a split: predictions, retrieval, CLIP and the scorer."""
