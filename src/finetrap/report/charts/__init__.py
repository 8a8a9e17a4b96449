"""The report's charts, each drawn once as SVG."""
