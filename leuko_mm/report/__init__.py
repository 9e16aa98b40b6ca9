"""Pictures and tables for people; plain data in, nothing is computed here."""
