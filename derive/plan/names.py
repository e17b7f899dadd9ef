"""Names in emitted text: a user's tensor keeps its name unless C++, CUDA, Python or our own text has taken it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

CPP = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t class compl
const constexpr const_cast continue decltype default delete do double dynamic_cast else enum explicit export
extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr
operator or or_eq private protected public register reinterpret_cast return short signed sizeof static
static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename
union unsigned using virtual void volatile wchar_t while xor xor_eq char8_t concept consteval constinit
co_await co_return co_yield requires half restrict
"""
CUDA = """
threadIdx blockIdx blockDim gridDim warpSize dim3 float2 float3 float4 double2 int2 int3 int4 uint4
make_float4 INFINITY NAN INDEX DYN_SHARED NULL EOF HUGE_VAL M_PI M_E M_LN2 I DOMAIN OVERFLOW UNDERFLOW
RAND_MAX SEEK_SET BUFSIZ stdin stdout stderr errno assert major minor makedev unix linux CHAR_BIT INT_MAX
INT_MIN LONG_MAX FLT_MAX DBL_MAX min max abs exp log log1p expm1 tanh sqrt rsqrt erf sin cos pow fmax fmin
fabs expf logf log1pf expm1f tanhf sqrtf rsqrtf erff sinf cosf powf fmaxf fminf fabsf nvcuda wmma std
"""
OURS = """
add_into last peak score shrink index dtypes step into given total row_threads row_blocks column_chunks
row_chunks row_shared total_chunks held shared slots kept threads own
product_chunks tiles Pack pack in_packs read whole_a whole_b pack_a pack_b Tile results split Cs As_rest Bs_rest start
Order TENSOR_CORES
nullcontext terms high low
top left columns length across down thread my_row my_column at part over along limit place stop share warp
line other apart before id group rows_here writer inside batch value holds greatest least count element first
next source chain begin end Sum Pack sigmoid softplus relu sign square cube powi floordiv mod real row_sum
row_max row_min accumulate keep lane lanes row rows chunk chunks tile partial kernels module load dtype np cp
self stream sizes out launch blocks check total lost steps As Bs acc tid width held now middle low half to second
first from load store whole array into entry lines one piece shares slab slabs sums own key keys size rising
smaller none gaps edge greater lesser across found many mine tile_places
"""
PYTHON = """
print len range int float tuple list dict set str bool None True False type isinstance ValueError TypeError
RuntimeError zip enumerate all any sum hasattr getattr
"""
FOREIGN = frozenset(" ".join((CPP, CUDA, PYTHON)).split()) | frozenset(keyword.kwlist) | frozenset(keyword.softkwlist)
RESERVED = FOREIGN | frozenset(OURS.split())


@dataclass
class Namer:
    """Hands out names that are free in their scope; a child scope sees its parent's names as taken."""

    taken: set[str] = field(default_factory=set)

    def child(self) -> Namer:
        return Namer(set(self.taken))

    def fresh(self, wish: str, ours: bool = False) -> str:
        """`wish`, or the nearest free spelling of it; words of our own text are free for us only."""
        name = base = clean(wish)
        n = 0
        while name in self.taken or name in (FOREIGN if ours else RESERVED):
            n += 1
            name = f"{base}_" if n == 1 else f"{base}_{n}"
        self.taken.add(name)
        return name

    def reserve(self, names: Iterable[str]) -> None:
        self.taken.update(names)


def clean(wish: str) -> str:
    """An ASCII identifier that no C++ implementation claims: no leading and no double underscore."""
    text = "".join(c if c.isascii() else f"u{ord(c):04x}" for c in wish)
    text = re.sub(r"[^A-Za-z0-9_]", "_", text)
    text = re.sub(r"__+", "_", text).lstrip("_")
    return text if text and not text[0].isdigit() else f"v{text}"
