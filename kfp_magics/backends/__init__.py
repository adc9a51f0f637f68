"""Where compiled pipelines run."""
