"""Compare studies side by side: records first (`study`, `comparison`), then text, JSON values and a page."""
