"""The commands, one after another, as a user runs them."""
