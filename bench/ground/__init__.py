"""The proving ground of bench/proving_ground.py: its tasks, settings, cells, and what they say."""
