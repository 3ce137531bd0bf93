"""Turn a configuration into a run."""
