"""The runs folder: a run is committed whole or not at all."""
