"""Single entry point to ultralytics: no other package of the trainer imports it."""
