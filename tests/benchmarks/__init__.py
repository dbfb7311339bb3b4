"""How fast a run is: exact figures in virtual time, and a few on real sockets."""
