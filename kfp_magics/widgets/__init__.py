"""What runs and pipelines look like in a notebook."""
