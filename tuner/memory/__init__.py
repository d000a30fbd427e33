"""Find out which batch and image sizes fit into memory."""
