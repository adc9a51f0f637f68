"""New objects of a bucket start runs: a function in Google's cloud."""
