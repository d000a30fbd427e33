"""Present a study, a run or a data set to the user."""
