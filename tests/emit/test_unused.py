"""Nothing is emitted that nothing uses: the whole catalogue, in every dtype."""

import pytest

from derive import catalog
from derive.emit import sources
from derive.operation import parse
from derive.validate.comparison import plan_of
from tests.emit.unused import unused_cuda, unused_python

OTHERS = ("float64", "float16", "bfloat16")


@pytest.mark.parametrize("name", catalog.names())
@pytest.mark.parametrize("dtype", ["float32", *(pytest.param(d, marks=pytest.mark.slow) for d in OTHERS)])
def test_everything_that_is_emitted_is_used(name: str, dtype: str) -> None:
    op = parse(catalog.load(name).text, name)
    texts = sources(name, plan_of(op, dtype))
    assert unused_cuda(texts[f"{name}.cu"]) == []
    assert unused_python(texts[f"{name}.py"]) == []


KERNEL = """
__device__ inline float used(float x) { return x; }

__device__ inline float spare(float x) { return x; }

extern "C" __global__ void k(
    const float* __restrict__ X,  // [i]
    float* __restrict__ Y,  // [i]
    INDEX size_i,
    INDEX size_j
)
{
    const INDEX count = size_i, spare_count = 2*size_i;
    __shared__ float tile[64][68];
    INDEX begin = 0, stop = count;
    const auto pack = X[0];
    float total = 0;
    for (INDEX i = begin; i < stop; ++i) {
        const float x = used(X[i]);
        float y = x*x;
        float kept[4];
        kept[0] = y;
        total += y;
        Y[i] = y;
    }
    if (count > 3) stop = 3;
}
"""


def test_what_is_not_used_is_found() -> None:
    assert unused_cuda(KERNEL) == [
        "helper spare",
        "k: parameter size_j",
        "k: variable spare_count",
        "k: variable tile",
        "k: variable begin never changes",
        "k: variable pack",
        "k: variable total",
        "k: variable y never changes",
        "k: variable kept",
    ]
    assert unused_cuda("#define SIZE 3\n#ifndef INDEX\n#define INDEX int\n#endif\nINDEX x;") == ["macro SIZE"]
    assert unused_python("import os\ndef f(a, b):\n    c, _ = a\n\ndef op_forward(x):\n    return x\n") == [
        "function f", "import os", "f: variable b", "f: variable c",
    ]  # fmt: skip
