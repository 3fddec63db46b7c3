"""Files: JWST products in, NetCDF and corrected FITS products out."""
