"""Measuring packages: time, load and memory, on real text, here and on devices.

plan.py (what), session.py (this machine), fleet.py and devices/ (phones and boards), reports/ (tables, page,
comparison).
"""
