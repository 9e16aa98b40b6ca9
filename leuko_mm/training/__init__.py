"""Training and testing one method: its config, the run, and the files that it writes."""
