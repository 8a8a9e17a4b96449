"""Arrays in, numbers out: paired changes, power and retention; every formula names its source."""
