"""Converters that write prepared datasets: one file a published source.

``folders`` converts a user's own images, and ``synthetic`` draws smears.
"""
