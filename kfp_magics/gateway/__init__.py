"""A door to this machine's engine that Kubeflow Pipelines' own client and command line find familiar."""
