"""The Jupyter Server extension: what is asked about runs over HTTP, and changes on Jupyter's event stream."""
