"""The types of real arrays that kernels are made for; no import, so that the command line starts without NumPy."""

ITEM = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}  # bytes of an element
DTYPES = tuple(ITEM)
