"""Checks of rules and kernels against the formula itself, none of which trusts the code it judges."""
