"""What people write, for random formulas to build upon: functions of a value, and whole statements over named tensors.

A shape is a list of extents, each an expression of letters: `"i 2*j+k"` is a matrix of i rows and 2*j+k columns.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# {0} is any value; every function is inside its domain for all of them.
SMOOTH = (
    "tanh({0})", "sin({0})", "cos({0})", "sigmoid({0})", "exp(tanh({0}))", "log(1 + ({0})**2)", "sqrt(1 + ({0})**2)",
    "erf({0})", "({0})**2", "({0})**3", "1/(1 + ({0})**2)", "log(1 + exp({0}))", "expm1(tanh({0}))", "-({0})",
    "rsqrt(0.5 + ({0})**2)", "log1p(({0})**2)", "(1.5 + sin({0}))**-1.5", "(1 + abs({0}))**p", "2**tanh({0})",
    "exp(-({0})**2)", "log(sigmoid({0}))", "({0})*sigmoid(1.702*({0}))", "({0})*tanh(log(1 + exp({0})))",
    "0.5*({0})*(1 + erf(({0})/sqrt(2)))", "log1p(exp(-abs({0})))", "(2 + cos({0}))**-2", "sqrt(abs({0}) + 0.1)",
    "exp(minimum({0}, 2))", "log(0.5 + abs({0}))", "({0})/(1 + abs({0}))", "sin(pi*({0}))", "+({0})", "({0})**4/3",
    "where({0} > q, {0}, q*expm1(minimum({0}, q)))", "(0.3 + sigmoid({0}))**(p*({0}))", "(1 - tanh({0})**2)",
)  # fmt: skip
KINKED = ("relu({0})", "abs({0})", "relu({0})**2", "maximum({0}, 0)", "minimum({0}, 0.3)",
          "maximum(minimum({0}, 1), -1)", "abs({0} - 0.1)*({0})", "relu(1 - {0})")  # fmt: skip
NUMBERS = ("2", "0.5", "-1.5", "3", "p", "1", "q", "pi", "1e-3", "2.5E-1", "-p", "1/3", "p**2", "sqrt(2)")
PARAMS = {"p": "0.7", "q": "-0.25"}


@dataclass(frozen=True)
class Idiom:
    """Statements, the shapes of what they read and make, and of integers with one more than the largest of each."""

    text: str
    inputs: dict[str, str]
    made: dict[str, str]
    integers: dict[str, tuple[str, str]] = field(default_factory=dict)
    same: str = ""  # letters of one extent

    @property
    def letters(self) -> str:
        shapes = " ".join([*self.inputs.values(), *self.made.values(), *(s for s, _ in self.integers.values())])
        return "".join(sorted({x for x in shapes if x.isalpha()}))


IDIOMS = (
    Idiom("N[i] = mean(k, A[i,k])\nW[i] = mean(k, (A[i,k] - N[i])**2)\nZ[i,k] = (A[i,k] - N[i])*rsqrt(W[i] + 0.1)",
          {"A": "i k"}, {"N": "i", "W": "i", "Z": "i k"}),
    Idiom("Z[i,k] = A[i,k]*rsqrt(mean(l, A[i,l]**2) + 0.1)*B[k]", {"A": "i k", "B": "k"}, {"Z": "i k"}, same="lk"),
    Idiom("Z[i,j] = sum(k, A[i,k]*B[j,k])\nW[i,j] = softmax(j, where(j <= i, Z[i,j], -1e30))",
          {"A": "i k", "B": "j k"}, {"Z": "i j", "W": "i j"}),
    Idiom("Z[i,j] = sum(k, A[i,k]*B[k,j])", {"A": "i k", "B": "k j"}, {"Z": "i j"}),
    Idiom("Z[i,j] = relu(sum(k, A[i,k]*B[k,j]) + C[j])", {"A": "i k", "B": "k j", "C": "j"}, {"Z": "i j"}),
    Idiom("Z[l,i,j] = sum(k, A[l,i,k]*B[l,j,k])", {"A": "l i k", "B": "l j k"}, {"Z": "l i j"}),
    Idiom("Z[i,j] = softmax(j, sum(k, A[i,k]*B[j,k]))\nW[i,l] = sum(j, Z[i,j]*C[j,l])",
          {"A": "i k", "B": "j k", "C": "j l"}, {"Z": "i j", "W": "i l"}),
    Idiom("Z[l,i,j] = softmax(j, where(j <= i, sum(k, A[l,i,k]*B[l//2,j,k])/sqrt(size(k)), -1e30))\n"
          "W[l,i,k] = sum(j, Z[l,i,j]*C[l//2,j,k])",
          {"A": "l i k", "B": "(l+1)//2 j k", "C": "(l+1)//2 j k"}, {"Z": "l i j", "W": "l i k"}),
    Idiom("Z[i] = logsumexp(j, A[i,j])\nW[i,j] = exp(A[i,j] - Z[i])", {"A": "i j"}, {"Z": "i", "W": "i j"}),
    Idiom("Z = mean(i, j, A[i,j]*B[j])\nW[j] = B[j] - sum(i, A[i,j])/size(i)",
          {"A": "i j", "B": "j"}, {"Z": "", "W": "j"}),
    Idiom("Z[i] = sum(j, where(j == labels[i], A[i,j], 0))\n"
          "W[i] = where(labels[i] >= 0, logsumexp(j, A[i,j]) - Z[i], 0)",
          {"A": "i j"}, {"Z": "i", "W": "i"}, {"labels": ("i", "j")}),
    Idiom("Z[i] = where(ids[i] >= 0, logsumexp(j, A[i,j]) - A[i,ids[i]], 0)",
          {"A": "i j"}, {"Z": "i"}, {"ids": ("i", "-j")}),
    Idiom("Z[i,k] = A[ids[i],k] + B[i,k]", {"A": "j k", "B": "i k"}, {"Z": "i k"}, {"ids": ("i", "j")}),
    Idiom("Z[l,i] = sum(j, where(j < lens[l], A[l,j]*B[i,j], 0))/maximum(1, lens[l])",
          {"A": "l j", "B": "i j"}, {"Z": "l i"}, {"lens": ("l", "j+1")}),
    Idiom("Z[l,i] = sum(j, k, A[j,2*i + k]*B[l,j,k]) + C[l]", {"A": "j 2*i+k", "B": "l j k", "C": "l"}, {"Z": "l i"}),
    Idiom("Z[l,i] = sum(k, where(i + 2*k - 1 >= 0 and i + 2*k - 1 < size(i), A[l,i + 2*k - 1]*B[k], 0))",
          {"A": "l i", "B": "k"}, {"Z": "l i"}),
    Idiom("Z[i,j] = max(k, l, A[2*i + k,2*j + l])", {"A": "2*i+k 2*j+l"}, {"Z": "i j"}),
    Idiom("Z[i,j] = sum(k, where(k <= j, A[i,k], 0))", {"A": "i j"}, {"Z": "i j"}, same="kj"),
    Idiom("Z[i,j] = sum(k, where(k <= j and j - k < 2, A[i,k]*B[j - k], 0))", {"A": "i j", "B": "2"}, {"Z": "i j"},
          same="kj"),
    Idiom("Z[i,j] = A[i,2*j]*B[j] - A[i,2*j + 1]*C[j]\nW[i,j] = A[i,2*j]*C[j] + A[i,2*j + 1]*B[j]",
          {"A": "i 2*j", "B": "j", "C": "j"}, {"Z": "i j", "W": "i j"}),
    Idiom("Z[i,j] = A[size(j)*i + j]*B[i] + C[j,i]", {"A": "i*j", "B": "i", "C": "j i"}, {"Z": "i j"}),
    Idiom("W[i] = sigmoid(A[i])*A[i]*B[i]\nZ = sum(i, W[i]**2)", {"A": "i", "B": "i"}, {"W": "i", "Z": ""}),
    Idiom("Z[i,j] = sum(k, l, A[i,k]*D[k,l]*B[l,j])",
          {"A": "i k", "D": "k l", "B": "l j"}, {"Z": "i j"}),
    Idiom("Z[i,j] = log(softmax(j, A[i,j]*B))", {"A": "i j", "B": ""}, {"Z": "i j"}),
    Idiom("N[i] = max(j, abs(A[i,j]))\nZ[i,j] = A[i,j]/(N[i] + 0.1)", {"A": "i j"}, {"N": "i", "Z": "i j"}),
)
