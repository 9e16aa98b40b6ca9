"""converters of leuko_mm."""
