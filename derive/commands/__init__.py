"""What the command line does between its arguments and the package: find a formula, lay a rule out, write a folder."""
