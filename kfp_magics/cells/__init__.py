"""Cell text to `kfp_magics.model.Component`."""
