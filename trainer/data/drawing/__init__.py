"""Draw images with boxes, text and contact sheets."""
