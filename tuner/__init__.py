"""Decides which configuration to train next and which trial goes on; never trains."""
