"""Many heads at once on the cached features: what varies, their program, their ranking."""
