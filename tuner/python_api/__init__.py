"""Offer what the command line does as functions and objects, for scripts and notebooks (docs/python-api.md)."""
