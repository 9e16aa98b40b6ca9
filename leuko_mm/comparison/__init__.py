"""Comparing methods: planned runs, their training, and the report of results."""
