"""Models: bodies in two layer groups, a head, and their weights."""
