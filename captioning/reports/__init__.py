"""Reports for people: pages and tables of evaluation results."""
