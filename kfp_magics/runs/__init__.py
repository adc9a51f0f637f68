"""What the store remembers of runs, and how it is watched and shown as text."""
