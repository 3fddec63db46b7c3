"""Find the target acquisition, pair it with its centroids, attach it and correct the WCS, in the order of the work."""
