"""Images of steps: planned, built beside the kernel's work, seen as runs, remembered."""
