"""`python -m jaxclip`."""

from jaxclip.cli.main import main

main()
