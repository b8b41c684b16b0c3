"""Files on disk: written completely or not at all, read with errors that name the fault."""
