"""Results sheets from outcomes."""
