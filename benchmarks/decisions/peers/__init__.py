"""Searches of other libraries behind one protocol, each driven through its own public interface.

Each module has `METHODS`: the factories of searches for a table, by name.
"""
