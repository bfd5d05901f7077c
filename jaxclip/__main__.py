"""`python -m jaxclip`."""

from jaxclip.cli import main

main()
