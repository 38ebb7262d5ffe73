"""Measurements beside others' software, each a script; never part of the library."""
