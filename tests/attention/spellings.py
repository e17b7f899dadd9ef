"""The same attention as different people write it: scales, masks, layouts, values in place of names."""

from tests.attention.variants import Variant

_QK = "sum(d, Q[t,d]*K[s,d])"
_OUT = "O[t,v] = sum(s, P[t,s]*V[s,v])"
_HEADS = "sum(d, Q[h,t,d]*K[h,s,d])"
_HEADS_OUT = "O[h,t,v] = sum(s, P[h,t,s]*V[h,s,v])"


def _scores(score: str, out: str = _OUT) -> Variant:
    return Variant(f"P[t,s] = softmax(s, {score})\n{out}")


def _heads(score: str, **sizes: int) -> Variant:
    return Variant(f"P[h,t,s] = softmax(s, {score})\n{_HEADS_OUT}", {"h": 2, **sizes})


SPELLINGS = {
    # ------------------------------------------------------------------------------------- scales
    "scaled_by_size": _scores(f"{_QK}/sqrt(size(d))"),
    "scaled_by_root": _scores(f"rsqrt(size(d))*{_QK}"),
    "scaled_by_power": _scores(f"{_QK}*size(d)**-0.5"),
    "scaled_by_param": Variant(f"param scale = 0.25\nP[t,s] = softmax(s, scale*{_QK})\n{_OUT}"),
    "scaled_by_scalar": _scores(f"{_QK}*scale"),
    "scaled_inside": _scores("sum(d, Q[t,d]*K[s,d]*0.25)"),
    "scaled_queries": Variant(
        f"Z[t,d] = Q[t,d]/sqrt(size(d))\nP[t,s] = softmax(s, sum(d, Z[t,d]*K[s,d]))\n{_OUT}"
    ),
    "scaled_sides": _scores("sum(d, (Q[t,d]*0.5)*(K[s,d]*0.5))"),
    "scaled_by_head": _heads(f"temperature[h]*{_HEADS}"),
    "scaled_by_exponential": _heads(f"exp(log_scale[h])*{_HEADS}*0.2"),
    "scaled_by_row": _scores(f"temperature[t]*{_QK}"),
    # ------------------------------------------------------------------------------------- masks
    "added_mask": _scores(f"0.3*{_QK} + where(s <= t, 0, -1e30)"),
    "added_mask_named": Variant(
        f"M[t,s] = where(s <= t, 0, -1e30)\nS[t,s] = 0.3*{_QK} + M[t,s]\nP[t,s] = softmax(s, S[t,s])\n{_OUT}"
    ),
    "multiplied_mask": _scores(f"0.3*{_QK} - 1e30*(s > t)"),
    "mask_in_place": _scores(f"where(s <= t, {_QK}/sqrt(size(d)), -1e30)"),
    "mask_before_scale": _scores(f"where(s <= t, {_QK}, -1e32)/4"),
    "mask_in_a_mask": _scores(f"where(s <= t, where(t - s < 9, 0.3*{_QK}, -1e30), -1e30)"),
    "mask_after": Variant(
        f"P[t,s] = softmax(s, 0.3*{_QK})\nW[t,s] = where(s <= t, P[t,s], 0)\nO[t,v] = sum(s, W[t,s]*V[s,v])"
    ),
    "mask_after_product": _scores(f"0.3*{_QK}", "O[t,v] = sum(s, where(s <= t, P[t,s]*V[s,v], 0))"),
    "dropped_weights": Variant(
        f"P[t,s] = softmax(s, 0.3*{_QK})\nW[t,s] = P[t,s]*D[t,s]*1.25\nO[t,v] = sum(s, W[t,s]*V[s,v])", pairs=("D",)
    ),
    "either_side": _scores(f"where(abs(t - s) < 9, 0.3*{_QK}, -1e30)"),
    "last_queries": _scores(f"where(s <= t + size(s) - size(t), 0.3*{_QK}, -1e30)"),
    "prefix": _scores(f"where(s <= t or s < 7, 0.3*{_QK}, -1e30)"),
    "blocks": _scores(f"where(t//8 == s//8, 0.3*{_QK}, -1e30)"),
    "strided": Variant(f"P[t,s] = softmax(s, where(s <= t and (t - s)%4 == 0, 0.3*{_QK}, -1e30))\n{_OUT}", square=True),
    "cap_window_alibi": Variant(
        f"param cap = 8\nS[h,t,s] = cap*tanh({_HEADS}/sqrt(size(d))/cap) - slope[h]*(t - s)\n"
        f"P[h,t,s] = softmax(s, where(s <= t and t - s < 16, S[h,t,s], -1e30))\n{_HEADS_OUT}",
        {"h": 2},
    ),
    "clamped": _scores(f"minimum(5, maximum(-5, 0.3*{_QK}))"),
    # ------------------------------------------------------------------------------------- layouts
    "keys_transposed": _heads("where(s <= t, 0.3*sum(d, Q[h,t,d]*K[h,d,s]), -1e30)"),
    "all_transposed": Variant(
        "P[s,t] = softmax(s, where(s <= t, 0.3*sum(d, Q[d,t]*K[d,s]), -1e30))\nO[v,t] = sum(s, V[v,s]*P[s,t])"
    ),
    "two_batches": Variant(
        "P[a,b,h,t,s] = softmax(s, where(s <= t, 0.3*sum(d, Q[a,b,t,h,d]*K[a,b,s,h,d]), -1e30))\n"
        "O[a,b,t,h,v] = sum(s, P[a,b,h,t,s]*V[a,b,s,h,v])",
        {"a": 2, "b": 1, "h": 2, "d": 5, "v": 3},
    ),
    "one_key_head": Variant(
        "P[b,h,t,s] = softmax(s, where(s <= t, 0.3*sum(d, Q[b,h,t,d]*K[b,s,d]), -1e30))\n"
        "O[b,h,t,v] = sum(s, P[b,h,t,s]*V[b,s,v])",
        {"b": 2, "h": 3},
    ),
    "grouped_by_param": Variant(
        "param r = 3\ninput K[g,s,d]\ninput V[g,s,v]\n"
        "P[h,t,s] = softmax(s, where(s <= t, 0.3*sum(d, Q[h,t,d]*K[h//r,s,d]), -1e30))\n"
        "O[h,t,v] = sum(s, P[h,t,s]*V[h//r,s,v])",
        {"h": 5, "g": 2},
    ),
    "grouped_undeclared": Variant(
        "P[h,t,s] = softmax(s, where(s <= t, 0.3*sum(d, Q[h,t,d]*K[h//2,s,d]), -1e30))\n"
        "O[h,t,v] = sum(s, P[h,t,s]*V[h//2,s,v])",
        {"h": 4},
    ),
    "grouped_in_turns": Variant(
        "input K[g,s,d]\ninput V[g,s,v]\n"
        "P[h,t,s] = softmax(s, where(s <= t, 0.3*sum(d, Q[h,t,d]*K[h%2,s,d]), -1e30))\n"
        "O[h,t,v] = sum(s, P[h,t,s]*V[h%2,s,v])",
        {"h": 4, "g": 2},
    ),
    "some_heads": Variant(
        "input K[g,s,d]\ninput V[g,s,v]\ninput U[g,s,v]\n"
        "P[h,t,s] = softmax(s, 0.3*sum(d, Q[h,t,d]*K[h//2,s,d]))\n"
        "O[h,t,v] = sum(s, where(h < 1, P[h,t,s]*V[h//2,s,v], 0))\n"
        "N[h,t,v] = sum(s, P[h,t,s]*U[h//2,s,v])\noutput O, N",
        {"h": 4, "g": 2},
    ),
    "one_tensor": Variant(
        "P[h,t,s] = softmax(s, where(s <= t, 0.3*sum(d, X[t,0,h,d]*X[s,1,h,d]), -1e30))\n"
        "O[t,h,d] = sum(s, P[h,t,s]*X[s,2,h,d])",
        {"h": 2, "d": 5},
        square=True,
    ),
    "keys_are_values": Variant("P[t,s] = softmax(s, 0.3*sum(d, Q[t,d]*C[s,d]))\nO[t,d] = sum(s, P[t,s]*C[s,d])"),
    # ------------------------------------------------------------------------------------- softmax
    "one_line": Variant(f"O[t,v] = sum(s, softmax(s, where(s <= t, {_QK}*0.3, -1e30))*V[s,v])"),
    "explicit": Variant(
        f"S[t,s] = 0.2*{_QK}\nE[t,s] = exp(S[t,s])\nZ[t] = sum(s, E[t,s])\nP[t,s] = E[t,s]/Z[t]\n{_OUT}"
    ),
    "explicit_shifted": Variant(
        f"S[t,s] = 0.3*{_QK}\nM[t] = max(s, S[t,s])\nE[t,s] = exp(S[t,s] - M[t])\nZ[t] = sum(s, E[t,s])\n"
        "O[t,v] = sum(s, E[t,s]*V[s,v])/Z[t]"
    ),
    "explicit_masked": Variant(
        f"E[t,s] = where(s <= t, exp(0.2*{_QK}), 0)\nO[t,v] = sum(s, E[t,s]*V[s,v])/sum(s, E[t,s])"
    ),
    "log_sum_exp": Variant(
        f"S[t,s] = where(s <= t, 0.3*{_QK}, -1e30)\nL[t] = logsumexp(s, S[t,s])\nP[t,s] = exp(S[t,s] - L[t])\n{_OUT}"
    ),
    "log_sum_exp_shown": Variant(
        f"S[t,s] = 0.3*{_QK}\nL[t] = logsumexp(s, S[t,s])\nP[t,s] = softmax(s, S[t,s])\n{_OUT}\noutput O, L"
    ),
    "other_letters": Variant(f"S[t,s] = {_QK}*0.3\nP[t,s] = softmax(s, S[t,s])\nO[t,v] = sum(j, P[t,j]*V[j,v])"),
    # ------------------------------------------------------------------------------------- what surrounds it
    "rotary": Variant(
        "size p = 2\n"
        "R[h,t,d,p] = cos(0.1*t*f[d])*Q[h,t,d,p] + where(p == 0, -1, 1)*sin(0.1*t*f[d])*Q[h,t,d,1-p]\n"
        "T[h,s,d,p] = cos(0.1*s*f[d])*K[h,s,d,p] + where(p == 0, -1, 1)*sin(0.1*s*f[d])*K[h,s,d,1-p]\n"
        f"P[h,t,s] = softmax(s, where(s <= t, 0.2*sum(d, p, R[h,t,d,p]*T[h,s,d,p]), -1e30))\n{_HEADS_OUT}",
        {"h": 2, "d": 4},
    ),
    "normalised_sides": Variant(
        "A[h,t,d] = Q[h,t,d]/sqrt(mean(e, Q[h,t,e]**2) + 1e-6)*g[d]\n"
        "B[h,s,d] = K[h,s,d]/sqrt(mean(e, K[h,s,e]**2) + 1e-6)*k[d]\n"
        f"P[h,t,s] = softmax(s, where(s <= t, 0.3*sum(d, A[h,t,d]*B[h,s,d]), -1e30))\n{_HEADS_OUT}",
        {"h": 2, "e": 16},
    ),
    "latent_keys": Variant(
        "K[s,h,d] = sum(c, C[s,c]*Uk[c,h,d])\nV[s,h,v] = sum(c, C[s,c]*Uv[c,h,v])\n"
        "P[h,t,s] = softmax(s, where(s <= t, 0.2*(sum(d, Q[t,h,d]*K[s,h,d]) + sum(r, A[t,h,r]*B[s,r])), -1e30))\n"
        "O[t,h,v] = sum(s, P[h,t,s]*V[s,h,v])",
        {"h": 2, "c": 6, "r": 4, "d": 5, "v": 3},
    ),
    "difference_of_two": Variant(
        f"P[t,s] = softmax(s, 0.3*{_QK})\nR[t,s] = softmax(s, 0.3*sum(d, A[t,d]*B[s,d]))\n"
        "W[t,s] = P[t,s] - lam*R[t,s]\nO[t,v] = sum(s, W[t,s]*V[s,v])"
    ),
    "two_in_a_row": Variant(
        "P[t,s] = softmax(s, where(s <= t, 0.2*sum(d, X[t,d]*X[s,d]), -1e30))\n"
        "Y[t,d] = X[t,d] + sum(s, P[t,s]*X[s,d])\n"
        "R[t,s] = softmax(s, where(s <= t, 0.2*sum(d, Y[t,d]*Y[s,d]), -1e30))\n"
        "Z[t,d] = Y[t,d] + sum(s, R[t,s]*Y[s,d])",
        square=True,
    ),
    "a_loss": _scores(f"0.3*{_QK}", f"{_OUT}\nloss = sum(t, v, (O[t,v] - Y[t,v])**2)"),
    "mean_of_rows": _scores(f"0.3*{_QK}", "O[v] = mean(t, sum(s, P[t,s]*V[s,v]))"),
    "square_sum": _scores(f"0.3*{_QK}", f"{_OUT}\nH[t] = sum(s, P[t,s]**2)\noutput O, H"),
}
