"""The only code that touches bytes on disk."""
