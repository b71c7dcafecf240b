"""The best epoch of a run: one criterion, across phases and image sizes, and what to try next."""
