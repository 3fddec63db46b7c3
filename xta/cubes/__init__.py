"""Cubes of an analyzed exposure: recentering."""
