"""Results for people: tables, plots, a page, and the comparison of two."""
