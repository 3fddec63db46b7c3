"""Arrays in, numbers out: centroids, shifts, correlation, data-quality flags."""
