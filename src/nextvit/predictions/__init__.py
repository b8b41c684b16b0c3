"""From the raw outputs of a network to predictions: numpy alone, the same for every runtime."""
