"""Bodies ranked by linear heads on their features: candidates, their measures, their order."""
