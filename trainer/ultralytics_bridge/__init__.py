"""The one door to ultralytics: no other package of the trainer imports it."""
