"""In place of flashrnn's function: the equations and layouts that it documents, by torch."""

from __future__ import annotations

import torch

READ = {"cuda_fused": ("TBHDG", "HDGP", "HDG"), "cuda": ("TBHGD", "HPGD", "HGD")}  # by backend


def flashrnn(Wx, R, b, states, *, function, backend, dtype):
    """Wx [B, T, G, H, D], R [G, H, D, P], b [G, H, D], states [S, B, 1, H, D].

    Returns the states of all steps [S, B, T, H, D] and of the last one. Numbers have to lie as the
    backend reads them, so that nothing is copied.
    """
    assert backend == ("cuda_fused" if function == "lstm" else "cuda")
    for value, seen, stored in zip(
        (Wx, R, b), ("BTGHD", "GHDP", "GHD"), READ[backend], strict=True
    ):
        assert value.permute([seen.index(d) for d in stored]).is_contiguous()
        assert str(value.dtype) == f"torch.{dtype}"
    last, every = states[:, :, 0].unbind(), []
    for wx in Wx.unbind(1):  # [B, G, H, D]
        sums = torch.einsum("bhp,ghdp->bghd", last[0], R)
        last = {"lstm": lstm, "gru": gru}[function](wx.unbind(1), sums.unbind(1), b, *last)
        every.append(torch.stack(last))
    every = torch.stack(every, 2)
    return every, every[:, :, -1:]


def lstm(w, r, b, h, c):
    """Gates i, f, z and o."""
    i, f, z, o = (sum(parts) for parts in zip(w, r, b, strict=True))
    c = f.sigmoid() * c + i.sigmoid() * z.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(w, r, b, h):
    """W x of r, z and n; R h of g, r and z; biases of g, r, z and n."""
    g = r[0] + b[0]
    reset, z = (sum(parts).sigmoid() for parts in zip(w[:2], r[1:], b[1:3], strict=True))
    n = (w[2] + b[3] + reset * g).tanh()
    return (z * h + (1 - z) * n,)
