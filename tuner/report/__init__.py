"""What a study looks like from outside, finished or running."""
