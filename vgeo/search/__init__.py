"""Finding the best candidates of a gallery."""
