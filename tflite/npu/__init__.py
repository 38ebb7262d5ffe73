"""Packages compiled ahead for the NPU of a phone, and the compiled binary run on the maker's emulator."""
