"""Reduce studies to one record for each chart of a page: plain values, without any drawing."""
