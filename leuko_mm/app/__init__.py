"""A local page: drop images, look at their cells, correct, count and save them."""
