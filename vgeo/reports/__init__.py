"""Tables, plots and maps for people."""
