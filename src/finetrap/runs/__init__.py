"""The runs folder: a run is written atomically."""
