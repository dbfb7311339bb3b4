"""Downloads against a file host that breaks them."""
