"""Converters that write prepared datasets: one file a published source.

``folders`` converts a user's own images, and ``synthetic`` draws smears. Each
``prepare_<source>`` writes all of the dataset ``out`` or nothing, and returns whether
anything was written. ``force`` replaces a dataset whose content differs. What is
missing, unreadable or unexpected is a ``DatasetError`` that names the file.
"""
