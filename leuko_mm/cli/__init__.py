"""cli of leuko_mm."""
