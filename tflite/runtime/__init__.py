"""Running and describing packages."""
