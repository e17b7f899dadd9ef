"""Structs in check mode: copied whole, with bytes between their members that nothing ever writes."""

from __future__ import annotations

import numpy as np
import pytest

import derive.emulator as em
from derive.emulator import padding

STRUCTS = """
struct Pair { double value; int at; };
struct Odd { char c; int i; short s; };
struct Inner { float a; char b; };
struct Nested { Inner x[2]; double d; };
struct alignas(16) Vec3 { float x, y, z; static const int count = 3; };
template <class T> struct Best { T value; int at; };
struct Tagged : Pair { char tag; float rest[5]; };
union Either { struct { double d; char c; } wide; struct { float x, y, z; } flat; };
struct Bits { double d; unsigned a : 3; unsigned b : 4; };
namespace ns { class Found { public: long long k; bool on; typedef int Count; }; }
using Counted = volatile ns::Found;
"""
COPY = """
extern "C" __global__ void copy(TYPE* out)
{
    __shared__ TYPE s[64];
    const int t = threadIdx.x;
    SET
    __syncthreads();
    out[t] = s[63 - t];
}
"""
MEMBERS = {
    "Pair": ["s[t].value = 1;", "s[t].at = t;"],
    "Odd": ["s[t].c = 1;", "s[t].i = t;", "s[t].s = 3;"],
    "Nested": ["s[t].x[0].a = t;", "s[t].x[0].b = 1;", "s[t].x[1].a = t;", "s[t].x[1].b = 1;", "s[t].d = 2;"],
    "Vec3": ["s[t].x = 1;", "s[t].y = 2;", "s[t].z = 3;"],
    "Best<double>": ["s[t].value = 1;", "s[t].at = 2;"],
    "Tagged": ["s[t].at = 1;", "s[t].tag = 1;", "s[t].value = 1;", *(f"s[t].rest[{i}] = 1;" for i in range(5))],
    "Either": ["s[t].wide.d = 1;", "s[t].flat.z = 1;"],
    "ns::Found": ["s[t].k = 1;", "s[t].on = true;"],
}


def copied(kind: str, members: list[str]) -> None:
    code = STRUCTS + COPY.replace("TYPE", kind).replace("SET", " ".join(members))
    em.RawModule(code=code, check=True).get_function("copy")((1,), (64,), (np.zeros(64*64, np.uint8),))


@pytest.mark.parametrize("kind", MEMBERS)
def test_a_struct_is_copied_with_its_padding(kind: str) -> None:
    copied(kind, MEMBERS[kind])


@pytest.mark.parametrize(("kind", "member"), [(k, m) for k, members in MEMBERS.items() for m in members])
def test_each_member_must_have_been_written(kind: str, member: str) -> None:
    with pytest.raises(em.CheckError) as caught:
        copied(kind, [m for m in MEMBERS[kind] if m != member])
    line = (STRUCTS + COPY).splitlines().index("    out[t] = s[63 - t];") + 1
    assert [(r.kind, r.line, r.variable) for r in caught.value.reports] == [("uninitialized", line, "s")]


def test_an_argmax_reads_pairs() -> None:
    code = """
    struct Pair { double value; int at; };
    extern "C" __global__ void argmax(const double* x, int* out, int n)
    {
        extern __shared__ Pair best[];
        const int t = threadIdx.x;
        best[t].value = t < n ? x[t] : -1e300;
        best[t].at = t;
        __syncthreads();
        for (int k = blockDim.x / 2; k > 0; k /= 2) {
            if (t < k && best[t + k].value > best[t].value) best[t] = best[t + k];
            __syncthreads();
        }
        if (t == 0) *out = best[0].at;
    }
    """
    x, out = np.random.default_rng(0).random(50), np.zeros(1, np.int32)
    em.RawModule(code=code, check=True).get_function("argmax")((1,), (64,), (x, out, np.int32(50)), shared_mem=1024)
    assert out[0] == x.argmax()


def test_the_bytes_between_members() -> None:
    code = STRUCTS + "".join(f"__device__ {kind} v{n};\n" for n, kind in enumerate([*MEMBERS, "Bits", "Counted"]))
    code += 'extern "C" __global__ void keep(void** p) {' + "".join(f" p[{n}] = (void*)&v{n};" for n in range(9)) + " }"
    module = em.RawModule(code=code, check=True)
    module.compile()
    assert module._object is not None
    found = {(p.size, "".join(".x"[b] for b in bytes(p))) for p in padding.read(module._object)}
    assert found == {
        (8, ".....xxx"), (12, ".xxx......xx"), (16, "............xxxx"), (16, ".........xxxxxxx"),
        (24, ".....xxx.....xxx........"), (40, "............xxxx.xxx" + "."*20),
    }  # fmt: skip


def test_a_text_without_structs_has_no_types() -> None:
    module = em.RawModule(code='extern "C" __global__ void k(double2* x) { x[0].x = 1; }', check=True)
    module.compile()
    assert module._object is not None
    assert padding.read(module._object) == ()
