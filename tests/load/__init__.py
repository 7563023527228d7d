"""Load over minutes and hours, run by hand."""
