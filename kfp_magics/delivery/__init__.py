"""From the notebook to production: a repository of its steps and pipelines, and what rebuilds their images."""
