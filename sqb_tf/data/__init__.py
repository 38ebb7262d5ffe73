"""Data files to `Example`s, and what `--task` names."""
