"""A stand-in: the probe only asks whether it is there."""
