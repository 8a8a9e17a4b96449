"""A TOML file becomes a checked Study, and a Study becomes cells."""
