"""Geography in pure numpy: coordinates are (lat, lon) in degrees, WGS 84, in that order."""
