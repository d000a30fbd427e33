"""Decide which configuration to try, and which trial continues, pauses or ends: pure functions of a search's history.

This package knows nothing about Ray, processes, clocks or databases. Searches and simulations run the same code.
"""
