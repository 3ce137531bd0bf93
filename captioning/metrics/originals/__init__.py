"""The original programs of the metrics, run as their authors packaged them."""
