"""Jobs and journal in, steps with a reason and a price each out. Pure."""
