"""Comparing methods: the planned runs, training them, and the report."""
