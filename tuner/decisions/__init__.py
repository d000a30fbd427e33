"""Which configuration to try, which trial goes on and which ends: pure functions of a search's history.

Nothing here knows Ray, processes, clocks or databases. A search and a simulation drive the same code.
"""
