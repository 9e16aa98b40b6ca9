"""The ``leuko`` command: one small module a verb group, parsing and printing only."""
