"""GPUs and NPUs: what they take of a package, by rules, and whether they answer rightly, by running it."""
