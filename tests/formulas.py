"""Forward formulas of every kind that people write, as data: what `tests/corpus.py` makes cases of.

`add(name, formula, sizes, ...)`: sizes are extents by letter, one set a case, separated by `;`. Letters that stand
only in `axes` name axes that no letter of the formula addresses (the vocabulary of a gather).
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """A formula and what its arrays look like."""

    name: str
    text: str
    sizes: tuple[dict[str, int], ...]
    ints: dict[str, tuple[int, str]] = field(default_factory=dict)  # integer input -> least value, letter or number
    axes: dict[str, str] = field(default_factory=dict)  # input -> letters of its axes, where the formula has none
    give: str = ""  # letters whose extents no array fixes: given with --size
    kinds: dict[str, str] = field(default_factory=dict)  # input -> distribution, see corpus.draw; normal if absent
    fixed: str = ""  # real inputs whose gradient is not asked for


ENTRIES: list[Entry] = []


def add(name, text, sizes, ints=None, axes=None, give="", kinds=None, fixed=""):  # type: ignore[no-untyped-def]
    table = tuple({k: int(n) for k, n in (x.split("=") for x in s.split())} for s in sizes.split(";"))
    assert all(e.name != name for e in ENTRIES), name
    ENTRIES.append(Entry(name, text.strip(), table, ints or {}, axes or {}, give, kinds or {}, fixed))


IJ = "i=3 j=5; i=1 j=13"
BSD = "b=2 s=3 d=5; b=1 s=1 d=13"

# ---- elementwise

for f in ("exp", "expm1", "tanh", "erf", "sigmoid", "relu", "abs", "sin", "cos"):
    add(f, f"Y[i,j] = {f}(X[i,j])", IJ)
for f in ("log", "log1p", "sqrt", "rsqrt"):
    add(f, f"Y[i,j] = {f}(X[i,j])", IJ, kinds={"X": "positive"})
add("gelu_erf", "Y[i,j] = 0.5*X[i,j]*(1 + erf(X[i,j]/sqrt(2)))", IJ)
add("gelu_tanh", "Y[i,j] = 0.5*X[i,j]*(1 + tanh(sqrt(2/pi)*(X[i,j] + 0.044715*X[i,j]**3)))", IJ)
add("gelu_sigmoid", "Y[i,j] = X[i,j]*sigmoid(1.702*X[i,j])", IJ)
add("silu_quotient", "Y[i,j] = X[i,j]/(1 + exp(-X[i,j]))", IJ)
add("silu_sigmoid", "Y[i,j] = X[i,j]*sigmoid(X[i,j])", IJ)
add("sigmoid_negative", "Y[i,j] = 1/(1 + exp(-X[i,j]))", IJ)
add("sigmoid_positive", "Y[i,j] = exp(X[i,j])/(1 + exp(X[i,j]))", IJ)
add("sigmoid_tanh", "Y[i,j] = 0.5*(1 + tanh(X[i,j]/2))", IJ)
add("tanh_exponentials", "Y[i,j] = (exp(X[i,j]) - exp(-X[i,j]))/(exp(X[i,j]) + exp(-X[i,j]))", IJ)
add("softplus_log", "Y[i,j] = log(1 + exp(X[i,j]))", IJ)
add("softplus_log1p", "Y[i,j] = log1p(exp(X[i,j]))", IJ)
add("log_sigmoid", "Y[i,j] = -log(1 + exp(-X[i,j]))", IJ)
add("mish", "Y[i,j] = X[i,j]*tanh(log(1 + exp(X[i,j])))", IJ)
add("elu", "param alpha = 1.5\nY[i,j] = where(X[i,j] > 0, X[i,j], alpha*(exp(X[i,j]) - 1))", IJ)
add("selu", "Y[i,j] = 1.0507*where(X[i,j] > 0, X[i,j], 1.67326*expm1(X[i,j]))", IJ)
add("leaky_relu", "Y[i,j] = maximum(X[i,j], 0.1*X[i,j])", IJ)
add("relu_maximum", "Y[i,j] = maximum(X[i,j], 0)", IJ, kinds={"X": "ties"})
add("clamp", "Y[i,j] = minimum(maximum(X[i,j], -1), 1)", IJ)
add("hard_swish", "Y[i,j] = X[i,j]*minimum(maximum(X[i,j] + 3, 0), 6)/6", IJ)
add("relu_ties", "Y[i,j] = relu(X[i,j])**2 + abs(X[i,j])", IJ, kinds={"X": "ties"})
add("maximum_ties", "Y[i,j] = maximum(A[i,j], B[i,j])*minimum(A[i,j], B[j,i])", "i=3 j=3; i=1 j=1",
    kinds={"A": "ties", "B": "ties"})
add("prelu", "Y[b,c,t] = where(X[b,c,t] > 0, X[b,c,t], alpha[c]*X[b,c,t])", "b=2 c=3 t=5; b=1 c=7 t=1")
add("swiglu", "Y[i,j] = X[i,j]*sigmoid(X[i,j])*Z[i,j]", IJ)
add("swiglu_mlp", """
G[n,h] = sum(i, X[n,i]*Wg[h,i])
U[n,h] = sum(i, X[n,i]*Wu[h,i])
Y[n,o] = sum(h, G[n,h]/(1 + exp(-G[n,h]))*U[n,h]*Wd[o,h])""", "n=2 i=3 h=5 o=7; n=1 i=2 h=1 o=3")
add("cube", "Y[i] = X[i]**3", "i=7; i=1")
add("reciprocal", "Y[i] = X[i]**-1 + 1/X[i]**2", "i=7; i=1", kinds={"X": "nonzero"})
add("root", "Y[i] = X[i]**0.5 + X[i]**-1.5", "i=7; i=1", kinds={"X": "positive"})
add("two_to_the_x", "Y[i] = 2**X[i]", "i=7; i=1")
add("x_to_the_y", "Z[i,j] = X[i]**Y[j]", IJ, kinds={"X": "positive"})
add("fourth_root_of_square", "Y[i] = (X[i]**2)**0.25", "i=7; i=1", kinds={"X": "nonzero"})
add("quotient", "Y[i,j] = A[i,j]/(B[i,j]**2 + 1)", IJ)
add("scalar_input", "Y[i] = alpha*X[i] + beta*X[i]**2 + gamma", "i=7; i=1")
add("scalar_only", "Y = x*sin(x) + exp(-x)*y", ";")
add("broadcast_bias", "Y[i,j] = X[i,j]*u[i] + v[j]", IJ)
add("gaussian", "param sigma = 0.7\nY[i,j] = exp(-(X[i] - c[j])**2/(2*sigma**2))/sqrt(2*pi*sigma**2)", IJ)
add("adamw", """
param lr = 1e-2
param b1 = 0.9
param b2 = 0.99
param eps = 1e-6
M[i] = b1*m[i] + (1 - b1)*g[i]
V[i] = b2*v[i] + (1 - b2)*g[i]**2
W[i] = w[i] - lr*(M[i]/(1 - b1)/(sqrt(V[i]/(1 - b2)) + eps) + 0.1*w[i])
output W, M, V""", "i=7; i=1", kinds={"v": "positive", "g": "nonzero"})
add("sgd_momentum", "V[i,j] = mu*v[i,j] + g[i,j]\nW[i,j] = w[i,j] - 0.1*(g[i,j] + mu*V[i,j])\noutput W, V", IJ)
add("trigonometric", "Y[i] = sin(X[i])*cos(2*X[i]) + sin(X[i]**2)**2", "i=7; i=1")
add("nested_functions", "Y[i] = log(1 + exp(-abs(X[i])))*tanh(sqrt(1 + X[i]**2))", "i=7; i=1")

# ---- products

MNK = "m=3 n=5 k=2; m=1 n=7 k=3"
add("matmul_nn", "Y[m,n] = sum(k, A[m,k]*B[k,n])", MNK)
add("matmul_nt", "Y[m,n] = sum(k, A[m,k]*B[n,k])", MNK)
add("matmul_tn", "Y[m,n] = sum(k, A[k,m]*B[k,n])", MNK)
add("matmul_tt", "Y[m,n] = sum(k, A[k,m]*B[n,k])", MNK)
add("matmul_out_transposed", "Y[n,m] = sum(k, A[m,k]*B[k,n])", MNK)
add("matmul_batched", "Y[b,h,m,n] = sum(k, A[b,h,m,k]*B[b,h,n,k])", "b=2 h=3 m=1 n=5 k=2; b=1 h=1 m=3 n=2 k=7")
add("matmul_batch_last", "Y[m,n,b] = sum(k, A[m,k,b]*B[k,b,n])", "b=2 m=3 n=5 k=4; b=1 m=1 n=2 k=3")
add("linear", "Y[batch,out] = sum(inp, X[batch,inp]*W[out,inp]) + bias[out]", "batch=3 out=5 inp=2; batch=1 out=1 inp=7")
add("matvec", "y[i] = sum(j, A[i,j]*x[j])", IJ)
add("dot", "Y = sum(i, a[i]*b[i])", "i=7; i=1")
add("outer", "Y[i,j] = a[i]*b[j]", IJ)
add("bilinear", "Y[n] = sum(i, j, x[n,i]*A[i,j]*y[n,j])", "n=3 i=5 j=2; n=1 i=1 j=7")
add("bilinear_layer", "Y[n,o] = sum(i, j, X[n,i]*W[o,i,j]*Z[n,j]) + b[o]", "n=3 i=5 j=2 o=4; n=1 i=1 j=3 o=2")
add("quadratic", "Y = sum(i, j, x[i]*A[i,j]*x[j])", "i=5 j=5; i=1 j=1")
add("trace", "Y = sum(i, S[i,i])", "i=5; i=1")
add("diagonal", "Y[i] = S[i,i]**2", "i=5; i=1")
add("trace_product", "Y = sum(i, k, A[i,k]*B[k,i])", "i=3 k=5; i=1 k=7")
add("diagonal_scale", "Y[i,j] = d[i]*A[i,j]*e[j]", IJ)
add("three_matrices", "Y[i,l] = sum(j, k, A[i,j]*B[j,k]*C[k,l])", "i=2 j=3 k=5 l=4; i=1 j=7 k=1 l=2")
add("gram", "Y[i,j] = sum(k, X[i,k]*X[j,k])", "i=5 j=5 k=3; i=1 j=1 k=7")
add("kronecker", "Y[i,p,j,q] = A[i,j]*B[p,q]", "i=2 j=3 p=5 q=1; i=1 j=7 p=2 q=3")
add("low_rank", "Y[n,o] = sum(i, X[n,i]*W[o,i]) + 0.5*sum(r, sum(i, X[n,i]*A[r,i])*B[o,r])",
    "n=3 i=5 o=4 r=2; n=1 i=7 o=1 r=1")
add("cp_decomposition", "Y[i,j,k] = sum(r, A[i,r]*B[j,r]*C[k,r])", "i=2 j=3 k=5 r=4; i=1 j=7 k=2 r=1")
add("hadamard_then_product", "Y[m,n] = sum(k, A[m,k]*M[m,k]*B[k,n])*S[m,n]", MNK)
add("mahalanobis", "D[n,i] = x[n,i] - mu[i]\nY[n] = sum(i, j, D[n,i]*A[i,j]*D[n,j])", "n=3 i=5 j=5; n=1 i=1 j=1")
add("autoencoder_tied", "H[n,h] = tanh(sum(i, X[n,i]*W[h,i]))\nY[n,i] = sum(h, H[n,h]*W[h,i])", "n=3 h=2 i=5; n=1 h=7 i=3")

# ---- reductions

add("sum_all", "Y = sum(i, j, X[i,j]**2)", IJ)
add("sum_rows", "Y[j] = sum(i, X[i,j]*w[i])", IJ)
add("mean_last", "Y[i] = mean(j, X[i,j])", IJ)
add("mean_several", "Y[c] = mean(b, t, exp(X[b,c,t]))", "b=2 c=3 t=5; b=1 c=7 t=1")
add("max_last", "Y[i] = max(j, X[i,j])", IJ)
add("min_first", "Y[j] = min(i, X[i,j])", IJ)
add("max_ties", "Y[i] = 3*max(j, X[i,j])", "i=3 j=11; i=1 j=13", kinds={"X": "ties"})
add("min_several_ties", "Y[b] = min(i, j, X[b,i,j])*c[b]", "b=2 i=3 j=5; b=1 i=1 j=7", kinds={"X": "ties"})
add("max_of_products", "Y[i,j] = max(k, A[i,k] + B[k,j])", "i=3 j=5 k=2; i=1 j=7 k=3")
add("range", "Y[i] = max(j, X[i,j]) - min(j, X[i,j])", IJ)
add("max_all_scaled", "m = max(i, j, abs(X[i,j]))\nY[i,j] = X[i,j]/(m + 1)", IJ)
add("variance", "m[i] = mean(j, X[i,j])\nY[i] = mean(j, (X[i,j] - m[i])**2)", IJ)
add("variance_inline", "Y[i] = mean(j, X[i,j]**2) - mean(j, X[i,j])**2", IJ)
add("standard_deviation", "m[i] = mean(j, X[i,j])\nY[i] = sqrt(sum(j, (X[i,j] - m[i])**2)/(size(j) + 1) + 1e-6)", IJ)
add("logsumexp", "Y[i] = logsumexp(j, X[i,j])", IJ)
add("logsumexp_spelled", "Y[i] = log(sum(j, exp(X[i,j])))", IJ)
add("logsumexp_shifted", "m[i] = max(j, X[i,j])\nY[i] = m[i] + log(sum(j, exp(X[i,j] - m[i])))", IJ)
add("logsumexp_several", "Y[b] = logsumexp(i, j, X[b,i,j]/tau)", "b=2 i=3 j=5; b=1 i=7 j=1", kinds={"tau": "positive"})
add("norm", "Y[i] = sqrt(sum(j, X[i,j]**2))", IJ)
add("norm_one", "Y[i] = sum(j, abs(X[i,j]))", IJ)
add("norm_p", "Y = sum(i, abs(X[i])**3)**(1/3)", "i=7; i=1", kinds={"X": "nonzero"})
add("cosine_similarity", """
D[i,j] = sum(k, A[i,k]*B[j,k])
Y[i,j] = D[i,j]/(sqrt(sum(k, A[i,k]**2))*sqrt(sum(k, B[j,k]**2)) + 1e-8)""", "i=3 j=5 k=2; i=1 j=2 k=7")
add("pairwise_distance", "Y[i,j] = sqrt(sum(k, (A[i,k] - B[j,k])**2) + 1e-3)", "i=3 j=5 k=2; i=1 j=2 k=7")
add("sibling_sums", "Y[i] = sum(k, A[i,k]**2)*sum(k, exp(B[k,i])) + sum(k, A[i,k])", "i=3 k=5; i=1 k=7")
add("cumulative_sum", "Y[b,t] = sum(s, where(s <= t, X[b,s], 0))", "b=2 t=5 s=5; b=1 t=1 s=1", give="t")
add("geometric_mean", "Y[i] = exp(mean(j, log(X[i,j])))", IJ, kinds={"X": "positive"})
add("softmax_weighted", "Y[i] = sum(j, softmax(j, X[i,j])*V[j])", IJ)
add("entropy", "P[i,j] = softmax(j, X[i,j])\nY[i] = -sum(j, P[i,j]*log(P[i,j]))", IJ)
add("moments", "m = mean(i, x[i])\ns = mean(i, (x[i] - m)**2)\nk = mean(i, (x[i] - m)**4)/(s + 0.1)**2\noutput m, s, k", "i=7; i=2")

# ---- losses

LABELS = {"labels": (0, "v")}
BSV = "b=2 s=3 v=5; b=1 s=1 v=7"
add("cross_entropy", "L = mean(b, s, logsumexp(v, X[b,s,v]) - X[b,s,labels[b,s]])", BSV, ints=LABELS)
add("cross_entropy_rows", "L[n] = logsumexp(v, X[n,v]) - X[n,y[n]]", "n=5 v=3; n=1 v=11", ints={"y": (0, "v")})
add("cross_entropy_ignore", """
count = sum(b, s, where(labels[b,s] >= 0, 1, 0)) + 1e-9
L = sum(b, s, where(labels[b,s] >= 0, logsumexp(v, X[b,s,v]) - X[b,s,labels[b,s]], 0))/count""",
    "b=2 s=5 v=5; b=3 s=1 v=7", ints={"labels": (-2, "v")})
add("cross_entropy_smoothed", """
param eps = 0.1
Z[n] = logsumexp(v, X[n,v])
L = mean(n, Z[n] - (1 - eps)*X[n,y[n]] - eps*mean(v, X[n,v]))""", "n=5 v=3; n=1 v=11", ints={"y": (0, "v")})
add("nll_log_softmax", "P[n,v] = softmax(v, X[n,v])\nL = -mean(n, log(P[n,y[n]]))", "n=5 v=3; n=1 v=11",
    ints={"y": (0, "v")})
add("log_softmax", "Y[n,v] = X[n,v] - logsumexp(w, X[n,w])", "n=5 v=3 w=3; n=1 v=11 w=11")
add("log_softmax_of_softmax", "Y[n,v] = log(softmax(v, X[n,v]))", "n=5 v=3; n=1 v=11")
add("cross_entropy_soft", "Z[n] = logsumexp(v, X[n,v])\nL = -mean(n, sum(v, Q[n,v]*(X[n,v] - Z[n])))", "n=5 v=3; n=1 v=11")
add("cross_entropy_weighted", """
Z[n] = logsumexp(v, X[n,v])
L = sum(n, w[y[n]]*(Z[n] - X[n,y[n]]))/sum(n, w[y[n]])""", "n=5 v=3; n=1 v=11", ints={"y": (0, "v")}, kinds={"w": "positive"})
add("z_loss", "Z[n] = logsumexp(v, X[n,v])\nL = mean(n, Z[n] - X[n,y[n]] + 0.01*Z[n]**2)", "n=5 v=3; n=1 v=11",
    ints={"y": (0, "v")})
add("bce_logits", "L = mean(i, maximum(X[i], 0) - X[i]*T[i] + log(1 + exp(-abs(X[i]))))", "i=7; i=1", kinds={"T": "unit"})
add("bce_sigmoid", "L = -mean(i, T[i]*log(sigmoid(X[i])) + (1 - T[i])*log(1 - sigmoid(X[i])))", "i=7; i=1",
    kinds={"T": "unit"})
add("bce_softplus", "L = mean(i, log(1 + exp(X[i])) - X[i]*T[i])", "i=7; i=1", kinds={"T": "unit"})
add("mse", "L = mean(n, o, (Y[n,o] - T[n,o])**2)", "n=3 o=5; n=1 o=7")
add("hinge", "L = mean(n, maximum(0, 1 - T[n]*X[n]))", "n=7; n=1")
add("multiclass_hinge", "L = mean(n, sum(v, where(v != y[n], maximum(X[n,v] - X[n,y[n]] + 1, 0), 0)))",
    "n=5 v=3; n=1 v=7", ints={"y": (0, "v")})
add("huber", "param delta = 0.8\nL = mean(i, where(abs(X[i] - T[i]) <= delta, 0.5*(X[i] - T[i])**2, "
    "delta*(abs(X[i] - T[i]) - 0.5*delta)))", "i=11; i=1")
add("kl_divergence", """
P[n,v] = softmax(v, X[n,v])
L = mean(n, sum(v, P[n,v]*(log(P[n,v]) - log(Q[n,v]))))""", "n=5 v=3; n=1 v=7", kinds={"Q": "positive"})
add("kl_two_logits", """
ZA[n] = logsumexp(v, A[n,v])
ZB[n] = logsumexp(v, B[n,v])
L = mean(n, sum(v, exp(A[n,v] - ZA[n])*(A[n,v] - ZA[n] - B[n,v] + ZB[n])))""", "n=5 v=3; n=1 v=7")
add("focal", """
P[n,v] = softmax(v, X[n,v])
L = mean(n, -(1 - P[n,y[n]])**2*log(P[n,y[n]]))""", "n=5 v=3; n=1 v=7", ints={"y": (0, "v")})
add("info_nce", """
a[i] = sum(k, A[i,k]**2)
b[j] = sum(k, B[j,k]**2)
U[i,k] = A[i,k]*rsqrt(a[i])
V[j,k] = B[j,k]*rsqrt(b[j])
S[i,j] = sum(k, U[i,k]*V[j,k])/0.5
L = mean(i, logsumexp(j, S[i,j]) - S[i,i])""", "i=3 j=3 k=5; i=1 j=1 k=2")
add("triplet", """
p[n] = sum(k, (A[n,k] - P[n,k])**2)
q[n] = sum(k, (A[n,k] - N[n,k])**2)
L = mean(n, relu(p[n] - q[n] + 0.2))""", "n=5 k=3; n=1 k=7")
add("dpo", "L = -mean(n, log(sigmoid(beta*((pw[n] - rw[n]) - (pl[n] - rl[n])))))", "n=5; n=1")
add("poisson_nll", "L = mean(i, exp(X[i]) - T[i]*X[i])", "i=7; i=1")
add("gaussian_nll", "L = mean(i, 0.5*(log(V[i]) + (X[i] - T[i])**2/V[i]))", "i=7; i=1", kinds={"V": "positive"})

# ---- normalisations

add("layernorm", """
param eps = 1e-5
M[b,s] = mean(d, X[b,s,d])
V[b,s] = mean(d, (X[b,s,d] - M[b,s])**2)
Y[b,s,d] = (X[b,s,d] - M[b,s])/sqrt(V[b,s] + eps)*gamma[d] + beta[d]""", "b=2 s=3 d=5; b=1 s=1 d=13; b=1 s=2 d=2")
add("layernorm_steps", """
mu[n] = mean(d, x[n,d])
xc[n,d] = x[n,d] - mu[n]
var[n] = mean(d, xc[n,d]**2)
rstd[n] = rsqrt(var[n] + 1e-5)
xhat[n,d] = xc[n,d]*rstd[n]
y[n,d] = xhat[n,d]*w[d] + b[d]""", "n=3 d=5; n=1 d=13")
add("layernorm_moments", """
M[n] = mean(d, X[n,d])
S[n] = mean(d, X[n,d]**2)
Y[n,d] = (X[n,d] - M[n])*rsqrt(S[n] - M[n]**2 + 1e-2)""", "n=3 d=5; n=2 d=7")
add("rmsnorm", "R[b,s] = rsqrt(mean(d, X[b,s,d]**2) + 1e-6)\nY[b,s,d] = X[b,s,d]*R[b,s]*w[d]", BSD)
add("rmsnorm_inline", "Y[n,d] = w[d]*X[n,d]/sqrt(mean(e, X[n,e]**2) + 1e-6)", "n=3 d=5 e=5; n=1 d=7 e=7")
add("batchnorm", """
M[c] = mean(b, t, X[b,c,t])
V[c] = mean(b, t, (X[b,c,t] - M[c])**2)
Y[b,c,t] = gamma[c]*(X[b,c,t] - M[c])/sqrt(V[c] + 1e-5) + beta[c]""", "b=2 c=3 t=5; b=3 c=1 t=1")
add("groupnorm_axes", """
M[b,g] = mean(c, t, X[b,g,c,t])
V[b,g] = mean(c, t, (X[b,g,c,t] - M[b,g])**2)
Y[b,g,c,t] = (X[b,g,c,t] - M[b,g])/sqrt(V[b,g] + 1e-5)*gamma[g,c] + beta[g,c]""", "b=2 g=3 c=2 t=5; b=1 g=1 c=7 t=1")
add("groupnorm_divided", """
M[b,g] = mean(k, t, X[b,2*g+k,t])
V[b,g] = mean(k, t, (X[b,2*g+k,t] - M[b,g])**2)
Y[b,c,t] = (X[b,c,t] - M[b,c//2])/sqrt(V[b,c//2] + 1e-5)*gamma[c] + beta[c]""",
    "b=2 g=3 k=2 c=6 t=5; b=1 g=1 k=2 c=2 t=3", give="g k")
add("instance_norm", """
M[b,c] = mean(h, w, X[b,c,h,w])
V[b,c] = mean(h, w, (X[b,c,h,w] - M[b,c])**2)
Y[b,c,h,w] = (X[b,c,h,w] - M[b,c])*rsqrt(V[b,c] + 1e-5)""", "b=2 c=3 h=2 w=5; b=1 c=1 h=7 w=1")
add("l2_normalise", "Y[n,d] = X[n,d]/sqrt(sum(e, X[n,e]**2) + 1e-8)", "n=3 d=5 e=5; n=1 d=7 e=7")
add("weight_norm", "R[o] = g[o]/sqrt(sum(i, V[o,i]**2))\nY[n,o] = sum(i, X[n,i]*V[o,i])*R[o]", "n=3 o=5 i=2; n=1 o=2 i=7")
add("standardise_loss", """
m = mean(i, x[i])
s = sqrt(mean(i, (x[i] - m)**2) + 1e-4)
L = sum(i, ((x[i] - m)/s)**3*w[i])""", "i=7; i=2")
add("softmax_last", "Y[b,i,j] = softmax(j, X[b,i,j])", "b=2 i=3 j=5; b=1 i=7 j=2")
add("softmax_first", "Y[i,j] = softmax(i, X[i,j])", IJ)
add("softmax_middle", "Y[b,i,j] = softmax(i, X[b,i,j]/T)", "b=2 i=3 j=5; b=1 i=7 j=2", kinds={"T": "positive"})
add("softmax_spelled", "Y[i,j] = exp(S[i,j])/sum(l, exp(S[i,l]))", "i=3 j=5 l=5; i=1 j=7 l=7")
add("softmax_stable_spelled", """
M[i] = max(j, S[i,j])
E[i,j] = exp(S[i,j] - M[i])
Z[i] = sum(j, E[i,j])
P[i,j] = E[i,j]/Z[i]""", IJ)
add("softmax_negative", "Y[i,j] = softmax(j, -X[i,j]**2)*X[i,j]", IJ)
add("softmax_gated", "P[i,j] = softmax(j, X[i,j])\nY[i,j] = P[i,j]*sigmoid(Z[i,j])", IJ)

add("scaled_on_both_sides", "s[i] = sum(j, X[i,j])\nZ[i,j] = exp(X[i,j]*s[i])\nY[i,j] = Z[i,j]*X[i,j]*s[j]", "i=4 j=4; i=1 j=1")
add("softmax_of_equal_scores", "Y[i,j] = softmax(j, r[i] + a)/(2 + sin(T[j,j,i]))", "i=3 j=4; i=1 j=1")

# ---- positions

add("rope_pairs", """
Y[b,t,p,i] = where(p == 0, X[b,t,0,i]*C[t,i] - X[b,t,1,i]*S[t,i], X[b,t,1,i]*C[t,i] + X[b,t,0,i]*S[t,i])""",
    "b=2 t=3 p=2 i=4; b=1 t=7 p=2 i=1", give="p", axes={"X": "b t p i"})
add("rope_halves", """
param half = 3
Y[t,c] = where(c < half, X[t,c]*cos(A[t,c]) - X[t,(c+half)%6]*sin(A[t,c]), X[t,c]*cos(A[t,c]) + X[t,(c+half)%6]*sin(A[t,c]))""",
    "t=5 c=6; t=1 c=6")
add("rope_interleaved", """
Y[t,c] = X[t,c]*cos(t*F[c//2]) + where(c % 2 == 0, -X[t,c+1], X[t,c-1])*sin(t*F[c//2])""", "t=5 c=6; t=1 c=2")
add("position_value", "Y[t,c] = X[t,c] + w[c]*sin(t/(c + 1))", "t=5 c=3; t=1 c=7")
add("embedding", "Y[b,t,c] = E[ids[b,t],c]", "b=2 t=5 c=3 v=4; b=1 t=7 c=1 v=2", ints={"ids": (0, "v")}, axes={"E": "v c"})
add("embedding_positional", "Y[b,t,c] = E[ids[b,t],c]*sqrt(size(c)) + P[t,c]", "b=2 t=5 c=3 v=4; b=1 t=7 c=1 v=2",
    ints={"ids": (0, "v")}, axes={"E": "v c"})
add("embedding_two", "Y[t,c] = E[a[t],c]*E[b[t],c] + F[a[t]]", "t=5 c=3 v=4; t=7 c=1 v=2",
    ints={"a": (0, "v"), "b": (0, "v")}, axes={"E": "v c", "F": "v"})
add("gather_repeated", "Y[n,c] = sum(k, X[idx[n,k],c]*w[n,k])", "n=3 k=7 c=2 m=2; n=1 k=5 c=3 m=1",
    ints={"idx": (0, "m")}, axes={"X": "m c"})
add("gather_of_remainders", "Y[t] = D[(ids[t] + 1) % 3]*D[ids[t]]", "t=7 v=3; t=1 v=4", ints={"ids": (0, "v")}, axes={"D": "v"})
add("quotients_of_ids", "input h[t]: int\nY[t] = X[t]**2*((h[t] - 5*t)%3) - X[t]*((h[t] - t)//2)", "t=7 v=9; t=1 v=1",
    ints={"h": (-9, "v")})
add("choice_by_remainders", "Y[t,c] = where(c == h[t]%3 and h[t]//2 >= 0, X[t,c]*D[h[t]//2], sin(X[t,c]))", "t=7 c=3 v=5; t=1 c=2 v=1",
    ints={"h": (-5, "v")}, axes={"D": "v"})
add("gather_pairs", "Y[n] = A[r[n],c[n]]**2", "n=11 p=3 q=2; n=1 p=1 q=5", ints={"r": (0, "p"), "c": (0, "q")}, axes={"A": "p q"})
add("gather_masked", "Y[n,d] = where(i0[n] >= 0, X[i0[n],d], 0)*2", "n=7 d=3 m=4; n=1 d=2 m=1", ints={"i0": (-3, "m")}, axes={"X": "m d"})
add("graph_convolution", "Y[e,o] = relu(sum(i, (X[src[e],i] - X[dst[e],i])*W[i,o]))", "e=7 i=3 o=2 n=4; e=1 i=2 o=5 n=1",
    ints={"src": (0, "n"), "dst": (0, "n")}, axes={"X": "n i"})
add("edge_softmax", """
S[e] = sum(d, X[src[e],d]*Z[dst[e],d])
M[n] = logsumexp(e, where(dst[e] == n, S[e], -1e30))
A[e] = exp(S[e] - M[dst[e]])
Y[n,d] = sum(e, where(dst[e] == n, A[e]*X[src[e],d], 0))""", "e=11 d=2 n=4; e=1 d=1 n=1",
    ints={"src": (0, "n"), "dst": (0, "n")}, axes={"X": "n d", "Z": "n d"}, give="n")
add("edge_softmax_quotient", """
S[e] = X[src[e]]*Z[dst[e]]
E[e] = exp(S[e])
A[e] = E[e]/sum(f, where(dst[f] == dst[e], E[f], 0))
Y[n] = sum(e, where(dst[e] == n, A[e]*X[src[e]], 0))""", "e=11 f=11 n=4; e=1 f=1 n=1",
    ints={"src": (0, "n"), "dst": (0, "n")}, axes={"X": "n", "Z": "n"}, give="n")
add("segment_sum_by_numbers", "Y[s,c] = sum(n, where(seg[n] == s, X[n,c], 0))*v[c]", "n=7 s=2 c=2; n=1 s=1 c=1",
    ints={"seg": (-1, "s")}, give="s")
add("segment_sum_by_reals", "Y[s] = sum(n, where(seg[n] == s, X[n], 0)) + X[s]*seg[s]", "n=7 s=7; n=1 s=1", fixed="seg")
add("segment_sum_out_of_range", "Y[s] = sum(n, where(seg[n] == s, X[n], 0)) + where(seg[s] >= 0, w[seg[s]], 0)",
    "n=7 s=7 m=9; n=1 s=1 m=4", ints={"seg": (-3, "m")}, axes={"w": "m"})
add("one_hot_out_of_range", "Y[n] = sum(s, where(seg[n] == s, E[s]*X[n], 0)) + where(seg[n] >= 0, w[seg[n]], 0)",
    "n=7 s=2 m=5; n=1 s=1 m=4", ints={"seg": (-3, "m")}, axes={"w": "m"})

# ---- attention

TSDV = "t=5 s=5 d=3 v=2; t=1 s=1 d=2 v=3"
CROSS = "t=3 s=5 d=2 v=4; t=1 s=7 d=3 v=1"
add("attention", """
S[t,s] = sum(d, Q[t,d]*K[s,d])/sqrt(size(d))
P[t,s] = softmax(s, S[t,s])
O[t,v] = sum(s, P[t,s]*V[s,v])""", CROSS)
add("attention_causal", """
S[t,s] = sum(d, Q[t,d]*K[s,d])/sqrt(size(d))
P[t,s] = softmax(s, where(s <= t, S[t,s], -1e30))
Y[t,v] = sum(s, P[t,s]*V[s,v])""", "t=4 s=4 d=3 v=3; t=1 s=1 d=2 v=2; t=7 s=7 d=1 v=5")
add("attention_multihead", """
S[b,h,t,s] = sum(d, Q[b,t,h,d]*K[b,s,h,d])*scale
P[b,h,t,s] = softmax(s, where(t >= s, S[b,h,t,s], -1e30))
O[b,t,h,d] = sum(s, P[b,h,t,s]*V[b,s,h,d])""", "b=2 h=3 t=5 s=5 d=2; b=1 h=1 t=2 s=2 d=7")
add("attention_soft_cap", """
S[t,s] = 5*tanh(sum(d, Q[t,d]*K[s,d])/5)
P[t,s] = softmax(s, S[t,s])
O[t,v] = sum(s, P[t,s]*V[s,v])""", CROSS)
add("attention_alibi", """
S[h,t,s] = sum(d, Q[h,t,d]*K[h,s,d])/sqrt(size(d)) - slope[h]*(t - s)
P[h,t,s] = softmax(s, where(s <= t, S[h,t,s], -1e30))
O[h,t,d] = sum(s, P[h,t,s]*V[h,s,d])""", "h=2 t=5 s=5 d=3; h=1 t=1 s=1 d=2")
add("attention_window", """
S[t,s] = sum(d, Q[t,d]*K[s,d])
P[t,s] = softmax(s, where(s <= t and t - s < 3, S[t,s], -1e30))
O[t,v] = sum(s, P[t,s]*V[s,v])""", "t=7 s=7 d=2 v=3; t=2 s=2 d=1 v=5")
add("attention_padding", """
S[b,t,s] = sum(d, Q[b,t,d]*K[b,s,d])
P[b,t,s] = softmax(s, where(s < lengths[b], S[b,t,s], -1e30))
O[b,t,d] = sum(s, P[b,t,s]*V[b,s,d])""", "b=3 t=2 s=5 d=3; b=1 t=1 s=7 d=2", ints={"lengths": (0, "s")})
add("attention_mask_tensor", """
S[t,s] = sum(d, Q[t,d]*K[s,d])
P[t,s] = softmax(s, where(keep[t,s] > 0, S[t,s], -1e30))
O[t,v] = sum(s, P[t,s]*V[s,v])""", "t=5 s=3 d=2 v=4; t=1 s=7 d=3 v=1", kinds={"keep": "ties"}, fixed="keep")
add("attention_additive_mask", """
S[t,s] = sum(d, Q[t,d]*K[s,d])/sqrt(size(d)) + mask[t,s]
P[t,s] = softmax(s, S[t,s])
O[t,v] = sum(s, P[t,s]*V[s,v])""", CROSS, kinds={"mask": "mask"}, fixed="mask")
add("attention_bias", """
P[t,s] = softmax(s, sum(d, Q[t,d]*K[s,d]) + B[t,s])
O[t,v] = sum(s, P[t,s]*V[s,v])""", CROSS)
add("attention_grouped", """
S[b,h,t,s] = sum(d, Q[b,h,t,d]*K[b,h//2,s,d])/sqrt(size(d))
P[b,h,t,s] = softmax(s, where(s <= t, S[b,h,t,s], -1e30))
O[b,h,t,d] = sum(s, P[b,h,t,s]*V[b,h//2,s,d])""", "b=2 h=4 t=3 s=3 d=2; b=1 h=2 t=1 s=1 d=5")
add("attention_grouped_axes", """
S[g,r,t,s] = sum(d, Q[g,r,t,d]*K[g,s,d])
P[g,r,t,s] = softmax(s, S[g,r,t,s])
O[g,r,t,d] = sum(s, P[g,r,t,s]*V[g,s,d])""", "g=2 r=3 t=2 s=5 d=3; g=1 r=1 t=7 s=2 d=2")
add("attention_linear", """
F[t,d] = where(Q[t,d] > 0, Q[t,d] + 1, exp(Q[t,d]))
G[s,d] = where(K[s,d] > 0, K[s,d] + 1, exp(K[s,d]))
A[d,v] = sum(s, G[s,d]*V[s,v])
z[d] = sum(s, G[s,d])
O[t,v] = sum(d, F[t,d]*A[d,v])/sum(d, F[t,d]*z[d])""", CROSS)
add("attention_linear_causal", "O[t,v] = sum(s, where(s <= t, sum(d, Q[t,d]*K[s,d]), 0)*V[s,v])", TSDV)
add("attention_shared_kv", """
P[t,s] = softmax(s, sum(d, X[t,d]*X[s,d]))
Y[t,d] = sum(s, P[t,s]*X[s,d]) + X[t,d]""", "t=5 s=5 d=3; t=1 s=1 d=7")
add("attention_one_query", "P[s] = softmax(s, sum(d, q[d]*K[s,d]))\no[v] = sum(s, P[s]*V[s,v])", "s=5 d=3 v=2; s=1 d=7 v=3")
add("attention_spelled", """
E[t,s] = exp(sum(d, Q[t,d]*K[s,d])/sqrt(size(d)))
O[t,v] = sum(s, E[t,s]*V[s,v])/sum(s, E[t,s])""", CROSS)
add("attention_sigmoid", "O[t,v] = sum(s, sigmoid(sum(d, Q[t,d]*K[s,d]) - log(size(s)))*V[s,v])", CROSS)
add("attention_projected", """
Q[t,d] = sum(c, X[t,c]*Wq[c,d])
K[t,d] = sum(c, X[t,c]*Wk[c,d])
V[t,d] = sum(c, X[t,c]*Wv[c,d])
P[t,s] = softmax(s, where(s <= t, sum(d, Q[t,d]*K[s,d])/sqrt(size(d)), -1e30))
Y[t,c] = sum(d, sum(s, P[t,s]*V[s,d])*Wo[d,c])""", "t=5 s=5 c=3 d=2; t=1 s=1 c=2 d=7")

# ---- convolutions and pools

add("conv1d", "Y[b,o,t] = sum(c, r, X[b,c,t+r]*W[o,c,r]) + k[o]", "b=2 c=3 o=4 r=3 t=5; b=1 c=1 o=2 r=5 t=1", give="t")
add("conv1d_solved", "Y[o,t] = sum(c, r, X[c,t+r]*W[o,c,r])", "c=3 o=2 r=3 t=5; c=1 o=1 r=2 t=1")
add("conv1d_stride", "Y[o,t] = sum(c, r, X[c,2*t+r]*W[o,c,r])", "c=2 o=3 r=3 t=4; c=1 o=1 r=2 t=1", give="t")
add("conv1d_stride_over", "Y[o,t] = sum(r, X[3*t+r]*W[o,r])", "o=3 r=2 t=4; o=1 r=5 t=2", give="t")
add("conv1d_dilated", "param dilation = 2\nY[o,t] = sum(c, r, X[c,t+dilation*r]*W[o,c,r])",
    "c=2 o=3 r=3 t=5; c=1 o=1 r=1 t=7", give="t")
add("conv1d_causal", "Y[o,t] = sum(c, r, where(t-r >= 0, X[c,t-r], 0)*W[o,c,r])", "c=2 o=3 r=3 t=5; c=1 o=1 r=5 t=2",
    give="t", axes={"X": "c t"})
add("conv1d_depthwise", "Y[b,t,c] = sum(r, where(t-r >= 0, X[b,t-r,c]*W[c,r], 0)) + X[b,t,c]", "b=2 t=5 c=3 r=4; b=1 t=1 c=7 r=2")
add("conv1d_same", "Y[t] = sum(r, where(t+r-1 >= 0 and t+r-1 < size(t), X[t+r-1]*W[r], 0))", "t=7 r=3; t=1 r=3",
    give="t", axes={"X": "t"})
add("conv1d_same_chained", "Y[t] = sum(r, where(0 <= t+r-1 < 6, X[t+r-1]*W[r], 0))", "t=6 r=3; t=6 r=1", give="t", axes={"X": "t"})
add("conv2d", "Y[b,o,y,x] = sum(c, p, q, X[b,c,y+p,x+q]*W[o,c,p,q])", "b=2 c=2 o=3 y=3 x=2 p=2 q=3; b=1 c=1 o=1 y=1 x=5 p=3 q=1",
    give="y x")
add("conv2d_stride", "Y[o,y,x] = sum(c, p, q, X[c,2*y+p,2*x+q]*W[o,c,p,q]) + b[o]", "c=2 o=3 y=2 x=3 p=2 q=3; c=1 o=1 y=1 x=2 p=3 q=1",
    give="y x")
add("conv_transposed", "Y[o,u] = sum(c, t, where(u-2*t >= 0 and u-2*t < 3, X[c,t]*W[c,o,u-2*t], 0))",
    "c=2 o=3 t=4 u=9 r=3; c=1 o=1 t=1 u=3 r=3", give="u", axes={"W": "c o r"})
add("conv1d_padded_strided", """
param stride = 2
param dilation = 3
param pad = 3
Y[o,t] = sum(c, r, where(0 <= stride*t + dilation*r - pad < 7, X[c,stride*t + dilation*r - pad], 0)*W[o,c,r])""",
    "c=2 o=3 r=3 t=4 u=7; c=1 o=1 r=2 t=5 u=7", give="t", axes={"X": "c u"})
add("max_pool_padded", "input X[c,u]\nY[c,t] = max(r, where(0 <= 2*t+r-1 < size(u), X[c,2*t+r-1], -1e30))",
    "c=3 u=7 t=4 r=3; c=1 u=1 t=1 r=3", give="t r")
add("avg_pool", "Y[b,c,t] = mean(r, X[b,c,3*t+r])", "b=2 c=3 t=4 r=3; b=1 c=1 t=1 r=3", give="t r")
add("max_pool", "Y[c,t] = max(r, X[c,2*t+r])", "c=3 t=4 r=2; c=1 t=1 r=2", give="t r")
add("max_pool_overlapping_ties", "Y[c,t] = max(r, X[c,t+r])", "c=3 t=5 r=3; c=1 t=1 r=2", give="t r", kinds={"X": "ties"})
add("pool2d", "Y[c,y,x] = max(p, q, X[c,2*y+p,2*x+q])", "c=2 y=2 x=3 p=2 q=2; c=1 y=1 x=1 p=2 q=2", give="y x p q")
add("upsample", "Y[c,t] = X[c,t//2]", "c=3 t=6; c=1 t=2", give="t")
add("shift", "Y[t,c] = X[t,c]*mu[c] + where(t >= 1, X[t-1,c], 0)*(1 - mu[c])", "t=5 c=3; t=1 c=7")
add("total_variation", "D[i] = X[i+1] - Z[i]\nL = sum(i, D[i]**2)", "i=5; i=1")
add("reverse", "Y[t] = X[size(t)-1-t]*w[t]", "t=5; t=1")
add("constant_index", "Y[n,h] = Z[n,1,h]*Z[n,0,h] + Z[n,1,0]", "n=3 h=5; n=1 h=2")
add("split_gates", "Y[n,h] = tanh(Z[n,0,h])*sigmoid(Z[n,1,h])", "n=3 h=5; n=1 h=2")

# ---- cells and mixtures

add("lstm", """
I[b,k] = sigmoid(sum(j, X[b,j]*Wi[k,j]) + sum(l, H[b,l]*Ui[k,l]) + bi[k])
F[b,k] = sigmoid(sum(j, X[b,j]*Wf[k,j]) + sum(l, H[b,l]*Uf[k,l]) + bf[k])
G[b,k] = tanh(sum(j, X[b,j]*Wg[k,j]) + sum(l, H[b,l]*Ug[k,l]) + bg[k])
O[b,k] = sigmoid(sum(j, X[b,j]*Wo[k,j]) + sum(l, H[b,l]*Uo[k,l]) + bo[k])
c[b,k] = F[b,k]*C[b,k] + I[b,k]*G[b,k]
h[b,k] = O[b,k]*tanh(c[b,k])
output h, c""", "b=2 j=3 k=5 l=5; b=1 j=1 k=2 l=2")
add("lstm_packed", """
A[b,p,k] = sum(j, X[b,j]*W[p,k,j]) + bias[p,k]
c[b,k] = sigmoid(A[b,1,k])*C[b,k] + sigmoid(A[b,0,k])*tanh(A[b,2,k])
h[b,k] = sigmoid(A[b,3,k])*tanh(c[b,k])
output h, c""", "b=2 j=3 k=5 p=4; b=1 j=1 k=2 p=4")
add("gru", """
R[b,k] = sigmoid(sum(j, X[b,j]*Wr[j,k]) + sum(l, H[b,l]*Ur[l,k]))
Z[b,k] = sigmoid(sum(j, X[b,j]*Wz[j,k]) + sum(l, H[b,l]*Uz[l,k]))
N[b,k] = tanh(sum(j, X[b,j]*Wn[j,k]) + R[b,k]*sum(l, H[b,l]*Un[l,k]))
Y[b,k] = (1 - Z[b,k])*N[b,k] + Z[b,k]*H[b,k]""", "b=2 j=3 k=5 l=5; b=1 j=1 k=2 l=2")
add("gaussian_mixture", """
D[n,k] = sum(d, (X[n,d] - mu[k,d])**2)
L = -mean(n, logsumexp(k, logits[k] - 0.5*D[n,k]))""", "n=5 k=3 d=2; n=1 k=2 d=7")
add("mixture_of_experts", """
G[n,e] = softmax(e, sum(i, X[n,i]*Wg[i,e]))
H[n,e,h] = relu(sum(i, X[n,i]*W1[e,i,h]))
Y[n,o] = sum(e, h, G[n,e]*H[n,e,h]*W2[e,h,o])""", "n=3 e=2 i=5 h=4 o=2; n=1 e=3 i=2 h=1 o=7")
add("top_one_routing", "Y[n,o] = sum(i, X[n,i]*W[expert[n],i,o])*G[n,expert[n]]", "n=7 i=2 o=3 e=4; n=1 i=5 o=1 e=2",
    ints={"expert": (0, "e")}, axes={"W": "e i o", "G": "n e"})
add("mlp_loss", """
H[n,h] = relu(sum(i, X[n,i]*W1[i,h]) + b1[h])
P[n,o] = sum(h, H[n,h]*W2[h,o]) + b2[o]
L = mean(n, o, (P[n,o] - Z[n,o])**2)""", "n=4 i=3 h=5 o=2; n=1 i=2 h=3 o=1")
add("residual_block", """
m[n] = mean(d, X[n,d])
v[n] = mean(d, (X[n,d] - m[n])**2)
Z[n,d] = (X[n,d] - m[n])*rsqrt(v[n] + 1e-5)
H[n,h] = sum(d, Z[n,d]*W1[d,h])
Y[n,d] = X[n,d] + sum(h, 0.5*H[n,h]*(1 + erf(H[n,h]/sqrt(2)))*W2[h,d])""", "n=3 d=5 h=2; n=1 d=2 h=7")
add("highway", "T[n,d] = sigmoid(sum(k, X[n,k]*W[k,d]))\nY[n,d] = T[n,d]*tanh(X[n,d]) + (1 - T[n,d])*X[n,d]", "n=3 d=5 k=5; n=1 d=2 k=2")
add("dropout_masked", "param p = 0.25\nY[i,j] = where(keep[i,j] != 0, X[i,j]/(1 - p), 0)", IJ, kinds={"keep": "ties"}, fixed="keep")
add("gradient_penalty", "S[n,h] = sigmoid(sum(i, X[n,i]*W[i,h]))\nG[n,i] = sum(h, v[h]*S[n,h]*(1 - S[n,h])*W[i,h])\n"
    "L = mean(n, (sqrt(sum(i, G[n,i]**2) + 1e-6) - 1)**2)", "n=3 i=2 h=5; n=1 i=3 h=1")
add("elbo", "L = mean(n, 0.5*sum(k, mu[n,k]**2 + exp(lv[n,k]) - lv[n,k] - 1))", "n=3 k=5; n=1 k=7")
add("gumbel", "Y[n,k] = softmax(k, (X[n,k] - log(-log(U[n,k])))/0.5)", "n=3 k=5; n=1 k=7", kinds={"U": "unit"}, fixed="U")

# ---- masks, chains, outputs, names

add("triangular", "Y[i,j] = where(i >= j, X[i,j], 0)", "i=5 j=5; i=1 j=7")
add("where_chain", "Y[i] = where(X[i] < -0.5, -1, where(X[i] < 0.5 and Z[i] > 0, X[i]*Z[i], where(not X[i] > 1, Z[i], X[i]**2)))",
    "i=17; i=1")
add("where_or", "Y[i,j] = where(i == j or X[i,j] > 0, X[i,j]*Z[j], -Z[j])", IJ)
add("guarded_log", "Y[i] = where(X[i] > 0, log(maximum(X[i], 1e-6)), 0)", "i=11; i=1")
add("where_truth", "Y[i,j] = where(keep[i,j] and i != j, X[i,j], 0)", IJ, kinds={"keep": "ties"}, fixed="keep")
add("comparison_as_number", "Y[i,j] = X[i,j]*(X[i,j] > 0) + (Z[j] <= X[i,j])*Z[j]**2", IJ)
add("fully_masked_row", "P[t,s] = softmax(s, where(s < t, S[t,s], -1e30))\nY[t,v] = sum(s, P[t,s]*V[s,v])", "t=5 s=5 v=2; t=1 s=3 v=1")
add("index_weights", "Y[i] = sum(j, X[i,j]*(i - j)**2)/size(j)", IJ)
add("two_outputs_shared", "A[i] = sum(j, X[i,j]*w[j])\nB[i] = exp(A[i])\noutput A, B", IJ)
add("outputs_scalar_and_tensor", "Y[i,j] = X[i,j]**2*w[j]\nL = sum(i, j, Y[i,j])\noutput Y, L", IJ)
add("opaque_names", "I[i] = S[i]*N[i] + E[i]*Q[i]\nO[i] = I[i]*beta[i] + gamma[i]*zeta[i] + pi*Lambda[i]", "i=7; i=1")
add("cpp_words", "this[int] = float[int]*double[int] + template[int]*auto[int]", "int=7; int=1")
add("kernel_words", "tid[n] = idx[n]*blockIdx[n] + sum(m, acc[n,m]*threadIdx[m])", "n=3 m=5; n=1 m=7")
add("temporary_names", "P[n] = sum(k, tmp[n,k]*t0[k])\nxhat[n] = P[n]*r[n] + rstd[n]*lse[n]", "n=3 k=5; n=1 k=7")
add("long_index_names", "Y[row, col] = sum(inner1, inner2, A[row,inner1]*B[inner1,inner2]*C[inner2,col])",
    "row=2 col=3 inner1=5 inner2=4; row=1 col=7 inner1=1 inner2=2")
add("declared_input", "input X[b,c,u]\nY[b,c] = mean(u, X[b,c,u]) + X[b,c,0]", "b=2 c=3 u=5; b=1 c=1 u=7")
add("used_twice", "Y[i] = sum(j, X[i,j]*X[j,i]) + X[i,i]*X[0,i]", "i=3 j=3; i=1 j=1")
add("unused_input_part", "Y[i] = X[i,0]*2 + X[i,2]", "i=3; i=1")
add("zero_gradient", "Y[i] = X[i]*0 + Z[i]", "i=3; i=1")
add("deep_chain", "\n".join(["A0[i] = X[i]*w[i]", *(f"A{n}[i] = tanh(A{n-1}[i]*w[i] + X[i])" for n in range(1, 7))]), "i=5; i=1")

# ---- found by formulas of people

add("weights_beside_a_sink", """
S[t,s] = sum(d, Q[t,d]*K[s,d])/sqrt(size(d))
M[t] = logsumexp(s, where(s <= t, S[t,s], -1e30))
Z[t] = M[t] + log1p(exp(sink - M[t]))
O[t,v] = sum(s, where(s <= t, exp(S[t,s] - Z[t]), 0)*V[s,v])""", TSDV)
add("low_rank_scaled", "Y[n,o] = sum(i, X[n,i]*W[i,o]) + sum(r, sum(i, X[n,i]*A[i,r])*B[r,o])*s + b[o]",
    "n=3 i=5 o=4 r=2; n=1 i=7 o=1 r=1")
add("latent_attention", """
C[s,r] = sum(c, X[s,c]*Wc[c,r])
K[h,s,d] = sum(r, C[s,r]*Uk[h,r,d])
V[h,s,d] = sum(r, C[s,r]*Uv[h,r,d])
Q[h,t,d] = sum(c, X[t,c]*Wq[h,c,d])
P[h,t,s] = softmax(s, where(s <= t, (sum(d, Q[h,t,d]*K[h,s,d]) + sum(j, Qr[h,t,j]*Kr[s,j]))/sqrt(size(d) + size(j)), -1e30))
Y[t,c] = sum(h, d, sum(s, P[h,t,s]*V[h,s,d])*Wo[h,d,c])""", "t=5 s=5 c=3 r=2 h=2 d=3 j=2; t=1 s=1 c=2 r=1 h=1 d=1 j=3")
add("retention", """
O[t,v] = sum(s, where(s <= t, sum(d, Q[t,d]*K[s,d])*exp(-g*(t - s)), 0)*V[s,v])""", TSDV, kinds={"g": "positive"})
add("covariance", """
m[b,i] = mean(t, X[b,t,i])
C[b,i,j] = mean(t, (X[b,t,i] - m[b,i])*(X[b,t,j] - m[b,j]))""", "b=2 t=3 i=5 j=5; b=1 t=1 i=2 j=2")

# The formulas whose kernels every test run compiles and executes: one or two of each kind of plan and each trap.
# `pytest --corpus all` takes every formula.
CORE = """
gelu_erf sigmoid_positive softplus_log elu maximum_ties swiglu_mlp x_to_the_y scalar_only adamw
matmul_nn matmul_tt matmul_batched matmul_batch_last bilinear quadratic trace diagonal three_matrices low_rank
sum_all mean_several max_ties min_several_ties max_of_products logsumexp_spelled cosine_similarity cumulative_sum
cross_entropy cross_entropy_ignore nll_log_softmax bce_logits focal info_nce
layernorm rmsnorm batchnorm groupnorm_divided l2_normalise softmax_last softmax_first
scaled_on_both_sides softmax_of_equal_scores
rope_pairs rope_interleaved embedding embedding_two gather_masked graph_convolution
attention_causal attention_multihead attention_alibi attention_padding attention_grouped
conv1d conv1d_stride conv1d_causal conv2d conv_transposed max_pool_overlapping_ties reverse constant_index
lstm mixture_of_experts where_chain fully_masked_row outputs_scalar_and_tensor cpp_words kernel_words zero_gradient
weights_beside_a_sink latent_attention
""".split()
assert set(CORE) <= {e.name for e in ENTRIES}, sorted(set(CORE) - {e.name for e in ENTRIES})

add("focal_choice", """
p[i] = sigmoid(X[i])
q[i] = where(y[i] == 1, p[i], 1 - p[i])
L = -mean(i, (1 - q[i])**2*log(q[i]))""", "i=7; i=1", kinds={"y": "ties"}, fixed="y")
add("l2_normalise_bounded", "Y[n,d] = X[n,d]/maximum(sqrt(sum(e, X[n,e]**2)), 1e-12)", "n=3 d=5 e=5; n=1 d=1 e=1")
add("retention_by_head", """
D[h,t,s] = where(s <= t, gamma[h]**(t - s), 0)
O[h,t,v] = sum(s, sum(d, Q[h,t,d]*K[h,s,d])*D[h,t,s]*V[h,s,v])""", "h=2 t=5 s=5 d=3 v=2; h=1 t=1 s=1 d=2 v=3", kinds={"gamma": "unit"})

# ---- found by random formulas

add("erf_of_a_difference", "Y[j] = erf(c - (d + sin(c)))*X[j]", "j=3; j=1")
add("softmax_under_a_guard", "Y[i] = cos(sum(m, where(m != i, softmax(m, X[i]), D[i,m] + C[i])))", "i=2 m=2; i=3 m=5")
add("extremum_of_a_product", "Y[i] = max(j, A[i]/(2 + sin(b))*tanh(b) + 0.25*j)", "i=3 j=4; i=1 j=1", give="j")
add("names_of_python", "np[erf] = exp(float[erf])*erf(int[erf]) + (len[erf] > 0)*print\nself[erf] = np[erf]*len[erf]", "erf=3; erf=1")
add("softmax_over_gathered", "Y[t,k] = softmax(k, A[ids[t,k]])", "t=3 k=5 n=4; t=1 k=1 n=2", ints={"ids": (0, "n")}, axes={"A": "n", "ids": "t k"})
add("maxima_of_rows", "M[i,j] = maximum(A*i + A, maximum(D, softmax(j, where(A > 5, C[i], -1e30))))\nY[i] = relu(M[i,i])", "i=3 j=3; i=1 j=1")
add("logsumexp_of_computed_places", "Y = logsumexp(i, where(0 < i, where(i + 3 < 5, A[i + 3], 0) + 0.25*i, -1e30))", "i=4 n=5; i=2 n=5", axes={"A": "n"}, give="i")
add("window_along_a_diagonal", "Y[k] = sum(i, tanh(A[k + i,k])*B[i,k])", "i=3 k=2 n=5; i=1 k=1 n=1", axes={"A": "n k", "B": "i k"})
add("power_of_zero", "Y[i] = abs(X[i])**(Z[i] + 2.1) + relu(X[i])**(q + 2)", "i=7; i=1", kinds={"X": "ties", "Z": "positive", "q": "positive"})
add("exponent_that_is_zero", "param p = 2\nY[i] = X[i]**(p - 2) + X[i]**p", "i=7; i=1", kinds={"X": "ties"})
add("truth_in_functions", "Y[i] = exp(A[i] > 0)*A[i] - (B[i] > 0)*maximum(A[i] > B[i], B[i]) + A[i]*(not B[i])", "i=7; i=1", kinds={"B": "ties"})
add("negative_truth", "Y[i,k] = -(where(k < i, C, D)*(B[i,i] > 0.25))", "i=3 k=2; i=1 k=1", give="k")
add("extrema_of_indices_alone", "Y[i] = X[i]*min(k, 0.5 + 0.25*k) + X[i]*max(k, k - i) + sum(l, where(softmax(l, A[l]) > 0.3, A[l], 0))",
    "i=3 k=4 l=2; i=1 k=1 l=1", give="k")
add("softmax_of_masked_names", "Y[i] = logsumexp(j, where(B > 0.2571, A[i] + 0.25*j, -1e30))\nP[i,k] = softmax(k, Y[i])*D[i]\noutput P",
    "i=2 j=1 k=2; i=1 j=3 k=1", give="j k")
add("names_that_a_loop_makes_too", "Y = sum(i, (B + C + A[i])*tanh(A[i]))\nZ[j] = sum(i, (B + C + A[i])*tanh(A[i])*X[i,j])\noutput Y, Z",
    "i=5 j=3; i=1 j=1")
add("functions_under_a_guard", "Y[i] = where(i < 3, tanh(C[2 - i])*sin(C[2 - i]), 0.5*X[i])", "i=5 n=3; i=1 n=3", axes={"C": "n"})
add("statements_under_a_guard", "Z[k] = expm1(tanh(C[k]))\nY = sum(i, softmax(i, where(i != 2, log(sigmoid(where(i//2 < 2, Z[1 - i//2], 0.5))), -1e30)))",
    "i=7 k=2; i=4 k=2", give="i")
add("differences_of_choices", "M = exp(minimum(where(A < C*1.01, B, D) - where(D > 0.25, C, D), 2))\nY = M*(A + where(A < C, D, 0) - where(D > 0.25, 0, D))", "")
add("size_of_no_axis", "Y = sum(n, A*exp(A))", "n=3; n=1", give="n")
add("mean_of_a_square", "Y[i,j] = mean(k, tanh(A[k])) + D[i,j]\nZ[k] = D[k,k]*A[k]\noutput Y, Z", "i=3 j=3 k=3; i=1 j=1 k=1")
add("window_of_one_place", "Z[i] = exp(sum(k, A[i + k]))\nY = tanh(Z[0])", "i=3 k=4 n=8; i=1 k=1 n=1", axes={"A": "n"}, give="i k", kinds={"A": "unit"})
add("exponential_of_one_window", "Z[i] = max(k, A[i + k])\nY = where(B < Z[0], B, log(1 + exp(Z[0])))", "i=3 k=4 n=8; i=1 k=1 n=1", axes={"A": "n"}, give="i k")
add("halves_in_products", "Y[i] = A[i] - 3*(i//2)*A[i//2]*B[2*(i//2)] + (i%2)*B[i]", "i=5; i=1")
add("softmaxes_of_one_number", "Y[i] = sum(n, log(softmax(n, i, D))*n)\nZ[k] = softmax(k, D)*A[k]\nL = logsumexp(n, D)\noutput Y, Z, L", "i=2 n=3 k=4; i=1 n=1 k=1", give="i n")
add("letter_called_as_a_name", "Y[l] = softmax(l, where(l < 1, max(n, A[n,l] + 0.25*n), (2**tanh(D)*log1p(D**2))))", "l=3 n=2; l=1 n=1")
add("square_of_gelu", "Y[i] = (0.5*X[i]*(1 + erf(X[i]/sqrt(2))))**2", "i=7; i=1")
add("factors_of_one_base", "Y[i] = (2*X[i] + sqrt(2)*X[i]*exp(X[i])*sqrt(2))**3*sqrt(2) + 3*sqrt(3)*X[i]**2*(1 + sqrt(3)*X[i])**2", "i=7; i=1")
add("product_beside_an_extremum", "Y = sum(i, A[i]*B[i])/(2 + sin(max(k, softmax(k, X[k]) + 0.25*k)))", "i=5 k=3; i=1 k=1")
add("kink_under_a_guard", "Y[k] = where(ids[k] + 1 < 2, relu(C[ids[k] + 1] - A[k]), 0)", "k=4 n=2; k=1 n=2", ints={"ids": (0, "n")}, axes={"C": "n"})
add("weight_among_equals", "Y[p] = exp(A[ids[p]] - logsumexp(n, A[ids[p]]))*B[p]", "p=4 n=2 v=9; p=1 n=1 v=5", ints={"ids": (0, "v")}, axes={"A": "v"}, give="n")
add("third_beside_a_size", "Y[j] = (sum(l, m, mean(k, A[k]) + 0.25*l + 0.25*m)/(2 + B[j]))**4/3", "j=3 k=5 l=2 m=3; j=1 k=3 l=1 m=2", kinds={"B": "positive"}, give="l m")
add("name_read_in_another_order", "Y[i,l,k] = log(softmax(i, B[k]*max(n, D[2*i + n,l] + 0.25*n)))", "i=3 l=2 k=4 n=3 v=8; i=1 l=1 k=1 n=2 v=2", axes={"D": "v l"}, give="i n")
add("remainder_with_a_sign", "Y[l,j] = B[l,j] - (l % 2)*Z[l,j]", "l=5 j=3; l=1 j=2")
add("discounted_from_the_end", "Y[j] = sum(t, R[t,j]*B[j]**(-(size(t) - t - 1))*2**(-(size(t) - t - 1)))", "t=5 j=3; t=1 j=1", kinds={"B": "positive"})
add("value_called_as_a_gradients_letter", "Y[i,j,k] = A[i,j,k]*minimum(log1p(C**2), D[1])*sin(A[i,j,k]*minimum(log1p(C**2), D[1]))", "i=2 j=3 k=2 n=3; i=1 j=1 k=1 n=2", axes={"D": "n"})
