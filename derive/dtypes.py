"""The types of real arrays that kernels are made for; no import, so that the command line starts without NumPy."""

DTYPES = ("float32", "float64", "float16", "bfloat16")
