"""The embedded engine: runs compiled pipelines on this machine."""
