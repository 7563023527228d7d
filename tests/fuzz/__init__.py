"""Hostile bytes against everything that reads frames."""
