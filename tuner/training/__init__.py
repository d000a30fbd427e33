"""Train one configuration in full and export its arguments."""
