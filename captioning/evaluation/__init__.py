"""A model and a split to a result: predictions, retrieval, CLIP, and what scores them."""
