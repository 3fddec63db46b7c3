"""Pixels, telescope frame and sky: SIAF, WCS, directions on the sphere."""
