"""Scripts that measure this project beside other software; not part of the library."""
