"""Kinds of data: one file each, read as streams of examples."""
