"""Our networks and learning against numbers of the official code; `README.md` says which."""
