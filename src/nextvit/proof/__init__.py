"""How far an exported model is from the trained one, and how far it may be: numpy alone, run where the bundle runs."""
