"""The mutation gate: faults made mechanically in emitted kernels and derived rules, which the validator must find."""
