"""Convert between pixels, the telescope frame and the sky: SIAF, WCS and directions on the sphere."""
