"""Drawing of images with boxes, text and contact sheets."""
