"""What authoring, building, running and delivering need, on this machine and elsewhere: looked at, nothing changed."""
