"""Independent estimates of the star's position."""
