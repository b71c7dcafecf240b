"""The pieces of bench/accelerator.py, a family a file; each part runs in a child process."""
