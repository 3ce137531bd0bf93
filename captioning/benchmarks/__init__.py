"""Measure speed against a lower bound or a reference program, and the agreement of metrics with human judgements."""
