"""Device side of Torchfarm: agents, drivers, meters and the harness that runs on devices."""
