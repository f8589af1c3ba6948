"""One module a kind of model: its configuration, and how it is trained, exported and evaluated."""
