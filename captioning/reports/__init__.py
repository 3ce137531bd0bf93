"""Results to what people read: pages and tables."""
