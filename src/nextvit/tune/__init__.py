"""A model within a budget: the conditions, the space of networks, and what each would take on this machine."""
