"""Reports of sweeps and of pools."""
