"""Pages, pictures and tables drawn from plain data; nothing is computed here."""
