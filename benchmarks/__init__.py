"""How fast kfp-magics is beside its peers: ``python -m benchmarks [SECTION …] [--write]``."""
