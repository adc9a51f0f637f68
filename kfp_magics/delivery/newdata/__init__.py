"""New data starts a run: a watched folder of this machine, or a bucket in the cloud."""
