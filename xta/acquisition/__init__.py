"""The target acquisition: find it, pair it, attach it, and correct the WCS by it, in the order of the measurement."""
