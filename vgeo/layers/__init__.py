"""Modules that two or more methods share."""
