"""A batch from end to end: all that the command line and the library do."""
