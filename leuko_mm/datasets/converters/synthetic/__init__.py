"""Drawn blood smears: the data of the quickstart and of the tests."""
