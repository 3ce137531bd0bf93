"""Kept files: whole or absent, with digests, written by one process at a time, and checked when they are read."""
