"""Heads, one file each: everything that is true of one, from its Keras class to its metrics.

`head.py` says what a description has, `task_head.py` what those that learn from labelled examples add;
`registry.py` finds them; `backend.py` takes a text through one.
"""
