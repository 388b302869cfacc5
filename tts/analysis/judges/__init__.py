"""How far judges can be trusted: their agreement with verdicts and with each other, their calibration and biases."""
