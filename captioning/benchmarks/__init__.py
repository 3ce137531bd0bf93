"""Measure speed beside what it could be, and metrics beside people's judgements."""
