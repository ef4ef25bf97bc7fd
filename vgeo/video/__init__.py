"""Frames and positions out of clips."""
