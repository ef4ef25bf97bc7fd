"""`python -m vgeo` is the command `vgeo`."""

from vgeo.cli import main

main()
