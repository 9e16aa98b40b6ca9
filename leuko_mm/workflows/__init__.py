"""workflows of leuko_mm."""
