"""One trial of a run: what its journal has of it, the trial told its past again, and why its answer was selected."""
