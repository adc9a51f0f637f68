"""Image specifications to images in a registry."""
