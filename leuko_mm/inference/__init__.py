"""inference of leuko_mm."""
