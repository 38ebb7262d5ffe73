"""What a model gets right and wrong on labelled data, as figures, files and a page."""
