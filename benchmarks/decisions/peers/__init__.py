"""Other libraries' searches behind one protocol, each driven through its own public interface.

A module has `METHODS`: by name, what makes the search for a table.
"""
