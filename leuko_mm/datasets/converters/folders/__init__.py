"""Convert a user's own images with masks or outlines."""
