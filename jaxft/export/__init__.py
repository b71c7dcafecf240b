"""Exits: a run's model in the formats of other libraries."""
