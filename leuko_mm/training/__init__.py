"""Training and testing one method: its config, the run, and its files."""
