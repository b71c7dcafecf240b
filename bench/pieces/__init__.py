"""What bench/accelerator.py measures, a family of pieces a file; each runs in a child process."""
