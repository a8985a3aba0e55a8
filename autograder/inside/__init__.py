"""Programs that run inside the sandbox, each by its own file; nothing here imports the rest of the package."""
