"""The doors, one after another, as a user runs them."""
