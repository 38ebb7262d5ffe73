"""Measuring packages: time, load and memory, on real text.

device.py (where), inputs.py (on what), load.py (opening, in a fresh process), session.py (the plan and
its measurement), report.py (table, records, plots).
"""
