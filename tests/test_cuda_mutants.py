"""Each of these mistakes in a CUDA kernel is found by running it without a device.

A mutant is an edit of the printed text. It has to answer with an error, or something else than
torch does. That they all do is what makes the silence of test_cuda.py worth something.
"""

from __future__ import annotations

import pytest
from emulated import plan, with_weights
from nets import errors

from rnngen import cuda, strategy, wavefront
from rnngen.errors import DeviceError
from rnngen.grid import Grid
from rnngen.tiles import Tiles
from rnngen.validate import Case

pytestmark = [pytest.mark.full, pytest.mark.usefixtures("gxx")]

SM = {"cell": "gru", "input_size": 20, "hidden_size": 40, "num_layers": 2, "bidirectional": True}
FULL = {"cell": "gru", "input_size": 3, "hidden_size": 64}
LSTM = {"cell": "lstm", "input_size": 3, "hidden_size": 110, "isa": "sm_80"}
CLUSTER = {"cell": "gru", "input_size": 3, "hidden_size": 131, "isa": "sm_90"}
SIXTEEN = {"cell": "lstm", "input_size": 3, "hidden_size": 310, "isa": "sm_90"}
GRID = {"cell": "gru", "input_size": 3, "hidden_size": 155, "isa": "sm_80", "bidirectional": True}
TURNS = {**GRID, "cell": "lstm", "hidden_size": 133}
WAVE = {"cell": "gru", "input_size": 3, "hidden_size": 21, "num_layers": 4}
WAVES = {"cell": "gru", "input_size": 3, "hidden_size": 131, "num_layers": 2}
STEP = {"cell": "lstm", "input_size": 20, "hidden_size": 21, "num_layers": 2, "dtype": "float64"}
PROJECTED = {"cell": "lstm", "input_size": 3, "hidden_size": 20, "proj_size": 5}

SM_16 = {**SM, "cell": "lstm", "dtype": "float16"}
KEPT_16 = {"cell": "gru", "input_size": 3, "hidden_size": 135, "isa": "sm_80", "dtype": "bfloat16"}
CLUSTER_16 = {**CLUSTER, "hidden_size": 210, "dtype": "float16"}
GRID_16 = {**GRID, "cell": "lstm", "hidden_size": 166, "dtype": "bfloat16"}
SHARED_16 = {**SM, "cell": "lstm", "hidden_size": 20, "dtype": "float16"}
SHARED_CLUSTER_16 = {"cell": "gru", "hidden_size": 75, "dtype": "float16", "isa": "sm_90"}
TURNS_16 = {**GRID, "hidden_size": 197, "dtype": "float16"}
STEP_16 = {"cell": "gru", "input_size": 8, "hidden_size": 195, "isa": "sm_80", "dtype": "float16"}
WAVE_16 = {"cell": "lstm", "hidden_size": 39, "num_layers": 4, "dtype": "float16"}
PROJECTED_16 = {**PROJECTED, "dtype": "bfloat16"}

MUTANTS = {
    "no barrier between steps": (SM, "unit] = h_j;\n        __syncthreads();", "unit] = h_j;"),
    "no barrier before the first step": (
        SM,
        "    __syncthreads(); /* the first h is there */\n\n    for (int done",
        "    for (int done",
    ),
    "one memory for h": (SM, "h_both[(done + 1) % 2]", "h_both[done % 2]"),
    "sums of one lane only": (SM, "sum[g] += __shfl_xor_sync", "sum[g] += 0 * __shfl_xor_sync"),
    "all lanes with the same quads": (SM, "q * parts + lane", "q * parts"),
    "a quad left out": (SM, "from < held; from", "from < held - chain; from"),
    "gates exchanged": (SM, "x[net_gate_r] + h[net_gate_r]", "x[net_gate_z] + h[net_gate_r]"),
    "bias of W_hn h forgotten": (SM, "sum[net_gate_n] += bias;", ""),
    "bias of W_hn h outside r": (SM, "gate == net_gate_n ? ih : ih + hh", "ih + hh"),
    "reverse forwards": (SM, "d ? count - 1 - done : done", "done"),
    "reverse reads the sums of one step": (SM, "d ? -1LL : 1LL", "d ? 0LL : 1LL"),
    "reverse begins at the padding": (SM, "d ? count - 1LL : 0", "d ? s.count - 1LL : 0"),
    "stretches of reverse in the wrong order": (SM, "T - done - count}", "done}"),
    "sums of the step before": (SM, "now[g] = ahead[g];", "now[g] = done ? ahead[g] : 0;"),
    "lengths one too short": (SM, "s.lengths[b] - s.first[d]", "s.lengths[b] - s.first[d] - 1"),
    "rows of the packed batch": (SM, "s.starts[t] + (long long)b", "s.starts[t]"),
    "strides exchanged": (SM, "t * s.step + b * s.next", "t * s.next + b * s.step"),
    "columns of both directions": (SM, "+ d * 40 + unit] = h_j", "+ unit] = h_j"),
    "second stretch from the beginning": (SM, "        h = h_n;\n", ""),
    "states of the first layer": (SM, "(size_t)depth * 2 * in->B", "(size_t)0 * 2 * in->B"),
    "both layers with one's weights": (SM, "weights->l1,", "weights->l0,"),
    "no first h": (FULL, "reinterpret_cast<real *>(h_both[0])[unit] = h_j;", "(void)h_j;"),
    "h read where it is written": (FULL, "h_both[done % 2]", "h_both[(done + 1) % 2]"),
    "no last c": (LSTM, "c_n[state + unit] = c_j;", ""),
    "first c forgotten": (LSTM, "c_0 ? c_0[state + unit] : 0", "0"),
    "h not zero beyond the last": (LSTM, "k < 8 * width", "k < 110"),
    "weights of shared memory in the wrong place": (
        LSTM,
        "(held + q) * parts + lane",
        "q * parts + lane",
    ),
    "a write behind shared memory": (LSTM, "2 * width + unit * parts", "3 * width + unit * parts"),
    "no waiting": (CLUSTER, "net_barrier_wait(&arrived[done % 2], (done - 1) / 2 % 2);", ""),
    "waiting for the wrong phase": (CLUSTER, "(done - 1) / 2 % 2", "done / 2 % 2"),
    "fewer bytes than come": (CLUSTER, "arrived[step % 2], 528", "arrived[step % 2], 512"),
    "no phase after the first two": (
        CLUSTER,
        "net_barrier_expect(&arrived[done % 2], 528 * SEQUENCES);",
        "(void)0;",
    ),
    "one half for all steps": (CLUSTER, "h_both[next][own]", "h_both[0][own]"),
    "the other half's barrier": (CLUSTER, "&arrived[next], r", "&arrived[1 - next], r"),
    "one block left out": (CLUSTER, "sends && r < 4", "sends && r < 3"),
    "last units do not travel": (CLUSTER, "begin < 131", "begin + 4 < 131"),
    "no meeting before the first step": (
        CLUSTER,
        "    net_cluster_sync();\n\n    for (int done",
        "    for (int done",
    ),
    "units of the first block": (CLUSTER, "net_rank() * 36", "0 * 36"),
    "several: one sequence sent for all": (CLUSTER, "parts, own);", "parts, 0);"),
    "several: as many bytes as for one": (CLUSTER, "528 * SEQUENCES", "528"),
    "several: sums of the neighbour": (CLUSTER, "odd ? other : one", "odd ? one : other"),
    "several: no step beyond one's own length": (
        CLUSTER,
        "if (done < count)\n            h_j",
        "h_j",
    ),
    "several: the first one's length for all": (
        CLUSTER,
        "steps = max(steps, __shfl_xor_sync(~0u, steps, m));",
        "steps += 0 * m;",
    ),
    "several: h_0 of the first for all": (CLUSTER, "h_0[state + n * 131 + j]", "h_0[state + j]"),
    "several: too few clusters": (CLUSTER, "s.B + SEQUENCES - 1", "s.B"),
    "several: shared memory of one": (
        CLUSTER,
        "net_cluster4_bytes<SEQUENCES>, &cluster",
        "net_cluster4_bytes<1>, &cluster",
    ),
    "sixteen blocks, eight sent to": (SIXTEEN, "from < 16; from +=", "from < 8; from +="),
    "idle lanes send what they have": (CLUSTER, "idle ? 0 : h_j", "h_j / (1 - idle)"),
    "grid: numbers of an earlier launch": (
        GRID,
        "cudaMemsetAsync(call.packets, 0,",
        "cudaMemsetAsync(call.packets, 0, 0 *",
    ),
    "grid: h of the step before": (GRID, "packed, there, which);", "packed, there, which - 1);"),
    "grid: one place for h": (GRID, "to = set + which % 2 * packed", "to = set"),
    "grid: no barrier behind what is received": (
        GRID,
        "    }\n    __syncthreads();\n}",
        "    }\n}",
    ),
    "grid: one memory for h": (GRID, "shared + which % 2 * one, set", "shared, set"),
    "grid: the first pairs only": (GRID, "from < all; from +=", "from < all / 2; from +="),
    "grid: pairs of the neighbour": (GRID, "p / pairs * ", "p / (pairs + 1) * "),
    "grid: the odd value is not sent": (GRID, "first + place < 2 * pairs", "first + place < 155"),
    "grid: idle lanes send what they have": (GRID, "idle ? 0 : h_j", "h_j / (1 - idle)"),
    "grid: h_0 is not sent": (GRID, "    if (steps)\n        send(1);\n", ""),
    "grid: sent after the last step": (GRID, "if (done + 1 < steps)", "if (done < steps)"),
    "grid: states of the first set": (GRID, "s.B + sequence) * 155", "s.B) * 155"),
    "grid: both directions in one place": (GRID, "(blockIdx.z * 2 + blockIdx.y)", "blockIdx.z"),
    "grid: a place for each set": (
        GRID,
        "* 2 + blockIdx.y) * 2 * packed",
        "+ blockIdx.y) * 2 * packed",
    ),
    "grid: more blocks than there is room for": (
        GRID,
        "min(call.device->processors / ",
        "min(2 * call.device->processors / ",
    ),
    "grid: units of the first block": (GRID, "(int)blockIdx.x * 5", "0 * 5"),
    "grid: what lies beyond h": (GRID, "shared[k] = make_float4(0, 0, 0, 0);", "(void)k;"),
    "turns: counters of an earlier launch": (
        TURNS,
        "cudaMemsetAsync(counters, 0, bytes",
        "cudaMemsetAsync(counters, 0, 0 * bytes",
    ),
    "turns: no waiting for h": (
        TURNS,
        "net_await_all(counter + k,",
        "net_await_all(counter + k, 0 *",
    ),
    "turns: a block too few": (TURNS, "(unsigned)n + 1));", "(unsigned)n + 1) - 1);"),
    "turns: one place for h": (TURNS, "(n % 2 * 2 + d)", "(d)"),
    "turns: both directions in one place": (TURNS, "(n % 2 * 2 + d)", "(n % 2)"),
    "turns: both directions' counters": (
        TURNS,
        "counters + (blockIdx.z * 2 + blockIdx.y)",
        "counters + (blockIdx.z * 2)",
    ),
    "turns: h is not waited for": (TURNS, "                net_fetched();\n", ""),
    "turns: no barrier behind h": (
        TURNS,
        "__syncthreads(); /* this h is there, and that of the turn before is in memory */",
        "",
    ),
    "turns: one memory for h": (TURNS, "buffer = 1 - buffer;", ""),
    "turns: h of one set or two is told before it is there": (
        TURNS,
        "if (!early) {\n                    __syncthreads();",
        "if (!early) {",
    ),
    "turns: h of a set alone before it is made": (TURNS, "early = many > 2;", "early = true;"),
    "turns: the first h is not told": (
        TURNS,
        "net_arrive(counter + threadIdx.x);",
        "(void)0;",
    ),
    "turns: the first h before it is there": (
        TURNS,
        "        __syncthreads();\n        if ((int)threadIdx.x < many && sets",
        "        if ((int)threadIdx.x < many && sets",
    ),
    "turns: counted from zero in each round": (
        TURNS,
        "sets[self].before += sets[self].steps;",
        "",
    ),
    "turns: told after the last step": (
        TURNS,
        "if (done + 1 < set.steps)",
        "if (done < set.steps)",
    ),
    "turns: the first round only": (
        TURNS,
        "first_set += (int)gridDim.z * 3)",
        "first_set += s.B)",
    ),
    "turns: c of the step before last": (
        TURNS,
        "                    c_n[at] = c_j;",
        "if (done % 2) c_n[at] = c_j;",
    ),
    "turns: no last h": (TURNS, "if (done + 1 == count)", "if (done == count)"),
    "turns: no states of what is over": (
        TURNS,
        "= h_n[at] = h_0 ? h_0[at] : real(0);",
        "= h_0 ? h_0[at] : real(0);",
    ),
    "turns: sums of the first set": (
        TURNS,
        "* s.B + b, unit);\n                real now",
        "* s.B + own, unit);\n                real now",
    ),
    "turns: the first pieces only": (TURNS, "p < all;", "p < all / 2;"),
    "turns in 16 bits: no waiting for h": (
        TURNS_16,
        "net_await_all(counter + k,",
        "net_await_all(counter + k, 0 *",
    ),
    "turns in 16 bits: h is not waited for": (TURNS_16, "                net_fetched();\n", ""),
    "turns in 16 bits: no barrier between sums": (
        TURNS_16,
        "                __syncthreads();\n                if (done < count) {",
        "                if (done < count) {",
    ),
    "turns in 16 bits: sums of the first eight": (TURNS_16, "sums + own / 8 *", "sums + 0 *"),
    "turns in 16 bits: h of the first eight": (TURNS_16, "h[e * 8 * line", "h[0 * line"),
    "wavefront: numbers of an earlier launch": (
        WAVE,
        "cudaMemsetAsync(call.packets, 0, packets",
        "cudaMemsetAsync(call.packets, 0, 0 * packets",
    ),
    "wavefront: no waiting for sums": (WAVE, "if (!there)\n", "if (false)\n"),
    "wavefront: sums of the step before": (WAVE, "look(done + 1);", "look(done);"),
    "wavefront: h gone before it is read": (WAVE, "net_wait_read(above, done);", ""),
    "wavefront: said to be read before it is": (
        WAVE,
        "net_read(below, done, count);",
        "net_read(below, done + 2, count + 2);",
    ),
    "wavefront: one place for h": (WAVE, "link.h + step % 4 * 22", "link.h"),
    "wavefront: no barrier behind what is received": (
        WAVE,
        "look(done + 1);\n        __syncthreads();",
        "look(done + 1);",
    ),
    "wavefront: no barrier before chains are added up": (
        WAVE,
        "= part[g];\n        }\n        __syncthreads();",
        "= part[g];\n        }",
    ),
    "wavefront: all lanes with the same chains": (WAVE, "* parts + lane;", "* parts;"),
    "wavefront: a chain left out": (WAVE, "c < 2; c++", "c < 1; c++"),
    "wavefront: no bias above": (WAVE, "sum + bias[i]", "sum"),
    "wavefront: states of the lowest": (WAVE, "(long long)depth * s.B", "0LL * s.B"),
    "wavefront: weights of the lowest": (WAVE, "layers.at[depth]", "layers.at[0]"),
    "wavefront: the odd value is not sent": (WAVE, "/ parts < 22", "/ parts < 21"),
    "wavefront: idle lanes send what they have": (WAVE, "idle ? 0 : h_j", "h_j / (1 - idle)"),
    "wavefront: y of the layer below": (
        WAVE,
        "depth == top && writes",
        "depth + 1 == top && writes",
    ),
    "wavefront: sequences without turns": (WAVE, "b = start + turn", "b = turn"),
    "wavefront: packets of the neighbour": (WAVE, "turn * links + (", "turn + ("),
    "wavefront: more blocks than there is room for": (
        WAVE,
        "min(device->at_once / 7",
        "min(2 * device->at_once / 7",
    ),
    "wavefront of clusters: no waiting for h": (
        WAVES,
        "net_barrier_wait(&arrived[done % 2], (done - 1) / 2 % 2);",
        "",
    ),
    "wavefront of clusters: never said to be read": (
        WAVES,
        "net_read(below, done - 1, count);",
        "",
    ),
    "wavefront of clusters: said to be read before it is": (
        WAVES,
        "net_read(below, done - 1, count);",
        "net_read(below, done + 1, count + 2);",
    ),
    "wavefront of clusters: products of the first block": (
        WAVES,
        "min(first + place, 130);\n    const bool idle = (int)threadIdx.x >= 144; /* does",
        "place;\n    const bool idle = (int)threadIdx.x >= 144; /* does",
    ),
    "wavefront of clusters: sums of the first block": (
        WAVES,
        "return first + row(i) % 36;",
        "return row(i) % 36;",
    ),
    "wavefront of clusters: the odd value is not sent": (
        WAVES,
        "first + place < 132",
        "first + place < 131",
    ),
    "wavefront of clusters: one cluster's sequence for all": (
        WAVES,
        "(int)blockIdx.x / 4, b",
        "0, b",
    ),
    "wavefront in 16 bits: no waiting for sums": (
        WAVE_16,
        "if (!arrived && mine(i))",
        "if (false)",
    ),
    "wavefront in 16 bits: no waiting for h": (
        WAVE_16,
        "if (ahead[i][n] >> 32 != which)",
        "if (false)",
    ),
    "wavefront in 16 bits: the unit itself for its neighbour": (
        WAVE_16,
        "h_j[i], 4))",
        "h_j[i], 0))",
    ),
    "wavefront in 16 bits: the last units are not sent": (
        WAVE_16,
        "unit < 4 * 10)",
        "unit < 36)",
    ),
    "wavefront in 16 bits: one sequence's h for all": (
        WAVE_16,
        "own * (2 * 10) + unit / 2",
        "unit / 2",
    ),
    "wavefront in 16 bits: sums of the first cell": (WAVE_16, "(i * 4 + g) * 128", "g * 128"),
    "wavefront in 16 bits: no bias above": (WAVE_16, "sum[g][i] + bias[i / 2][g]", "sum[g][i]"),
    "wavefront in 16 bits: bias of the first unit": (WAVE_16, "bias[i / 2][g]", "bias[0][g]"),
    "wavefront in 16 bits: products by W_hh": (
        WAVE_16,
        "layer.weight_ih + start_w",
        "layer.weight_hh + start_w",
    ),
    "wavefront in 16 bits: no barrier behind what is received": (
        WAVE_16,
        "            look(done + 1);\n        __syncthreads();",
        "            look(done + 1);",
    ),
    "wavefront in 16 bits: states of the lowest": (WAVE_16, "(long long)depth * s.B", "0LL * s.B"),
    "wavefront in 16 bits: sets of one sequence": (
        WAVE_16,
        "start + 8 * (int)blockIdx.x",
        "start + (int)blockIdx.x",
    ),
    "wavefront in 16 bits: the first sets only": (
        WAVE_16,
        "start += room * net_together",
        "start += s.B",
    ),
    "product without the barrier before loading": (
        STEP,
        "    do {\n        __syncthreads();",
        "    do {",
    ),
    "product without the barrier before adding": (
        STEP,
        "__syncthreads(); /* all have copied theirs: the tile is there */",
        "",
    ),
    "product without the rest of columns": (
        STEP,
        "k < width && from[r]",
        "k < width / 16 * 16 && from[r]",
    ),
    "rows of a block": (STEP, "tile.x[column][row + r] =", "tile.x[column][row] ="),
    "too few blocks": (STEP, "(rows + high - 1) / high", "(rows + high - 2) / high"),
    "too few blocks of units": (STEP, "(units + wide - 1) / wide", "units / wide"),
    "h and next do not change places": (STEP, "        h = next;\n", ""),
    "h ends in the wrong memory": (
        STEP,
        "const bool odd = s.count % 2;",
        "const bool odd = false;",
    ),
    "what is over is not carried on": (STEP, "next[at * 21 + unit] = h[at * 21 + unit];", ""),
    "c of the neighbour": (STEP, "c + at * 21 + unit", "c + at * 20 + unit"),
    "no copy of c": (STEP, "net_copy(call, c_n, c_0, 21)", "net_copy(call, c_n, c_n, 21)"),
    "16 bits: no barrier between steps": (
        SM_16,
        "= h_j[i];\n        __syncthreads();",
        "= h_j[i];",
    ),
    "16 bits: one memory for h": (SM_16, "(done + 1) % 2 * 8 * line", "done % 2 * 8 * line"),
    "16 bits: x of the other sequence": (SM_16, "more ? x[i % 2]", "more ? x[0]"),
    "16 bits: columns of a lane": (SM_16, "32 * q + 8 * column", "32 * q + 4 * column"),
    "16 bits: the second unit of a lane": (
        SM_16,
        "first + row + 8 * part",
        "first + row + 4 * part",
    ),
    "16 bits: x of the second unit": (SM_16, "i / 2 * 32 + g", "i / 2 * 16 + g"),
    "16 bits: steps of the first sequence": (
        SM_16,
        "steps = max(steps, __shfl",
        "steps = min(steps, __shfl",
    ),
    "16 bits: over, but computed": (
        SM_16,
        "if (done >= count[i % 2] ||",
        "if (done > count[i % 2] ||",
    ),
    "16 bits: weights of shared memory in the wrong place": (
        KEPT_16,
        "32 * (held + q) + 8",
        "32 * q + 8",
    ),
    "16 bits: both parts in one place": (KEPT_16, "* 2 + part) * 384", "* 2) * 384"),
    "16 bits: half of the columns": (
        KEPT_16,
        "net_mma(sum[g], w[0], w[384], v);",
        "if (q % 2) net_mma(sum[g], w[0], w[384], v);",
    ),
    "16 bits: rows and columns of a lane exchanged": (
        SM_16,
        "low.x, high.x, low.y, high.y",
        "low.x, low.y, high.x, high.y",
    ),
    "16 bits: columns of one matrix exchanged": (SM_16, "x.z, x.w", "x.w, x.z"),
    "16 bits: bias of W_hn h forgotten": (
        KEPT_16,
        "[net_gate_n][i] = bias[i / 2];",
        "[net_gate_n][i] = 0;",
    ),
    "16 bits: W_hn h not apart": (KEPT_16, "given[net_gate_n] = apart[i];", ""),
    "16 bits: no waiting": (
        CLUSTER_16,
        "net_barrier_wait(&arrived[done % 2], (done - 1) / 2 % 2);",
        "",
    ),
    "16 bits: h sent before it is there": (CLUSTER_16, "        __syncwarp();\n#pragma", "#pragma"),
    "16 bits: one half for all steps": (CLUSTER_16, "shared + half * 8 * line + to", "shared + to"),
    "16 bits: a block left out": (CLUSTER_16, "steps && r < 4", "steps && r < 3"),
    "16 bits: units of the first block": (CLUSTER_16, "net_rank() * 64", "0 * 64"),
    "16 bits: no meeting before the first step": (
        CLUSTER_16,
        "    net_cluster_sync();\n\n    for (int done",
        "    for (int done",
    ),
    "shared columns: no barrier before sums are added up": (
        SHARED_16,
        "= sum[g][k];\n        __syncthreads();",
        "= sum[g][k];",
    ),
    "shared columns: no barrier between steps": (
        SHARED_16,
        "= h_j[i];\n        __syncthreads();",
        "= h_j[i];",
    ),
    "shared columns: sums of the warp itself": (SHARED_16, "warp ^ (k / cells)", "warp"),
    "shared columns: both halves are one": (SHARED_16, "unit ^ (8 * part)", "unit"),
    "shared columns: sums in one place": (SHARED_16, "(to * 2 + k - cells)", "(k - cells)"),
    "shared columns in a cluster: no barrier before sums are added up": (
        SHARED_CLUSTER_16,
        "= sum[g][k];\n        __syncthreads();",
        "= sum[g][k];",
    ),
    "shared columns in a cluster: a warp asleep at it": (
        SHARED_CLUSTER_16,
        "asleep && done < steps",
        "asleep && done + 1 < steps",
    ),
    "shared columns in a cluster: no waiting": (
        SHARED_CLUSTER_16,
        "net_barrier_wait(&arrived[done % 2], (done - 1) / 2 % 2);",
        "",
    ),
    "shared columns in a cluster: those of the first warp": (
        SHARED_CLUSTER_16,
        "(q * splits + share) + 8",
        "q * splits + 8",
    ),
    "shared columns in a cluster: sums of two warps": (
        SHARED_CLUSTER_16,
        " + (left(warp, 2, g) + left(warp, 3, g))",
        "",
    ),
    "shared columns in a cluster: h of the other's sequence": (
        SHARED_CLUSTER_16,
        "(row ^ (share % 2))",
        "row",
    ),
    "shared columns in a cluster: one warp's sequences for both": (
        SHARED_CLUSTER_16,
        "* 2 + share % 2) * line",
        "* 2) * line",
    ),
    "shared columns in a cluster: sequences of its own only": (
        SHARED_CLUSTER_16,
        "(place ^ j)",
        "place + 0 * j",
    ),
    "shared columns in a cluster: stage of the next warp": (
        SHARED_CLUSTER_16,
        "(int)threadIdx.x / 32 * 4;",
        "(int)threadIdx.x / 64 * 4;",
    ),
    "grid in 16 bits: one place for h": (GRID_16, "which % 2 * SEQUENCES + own", "own"),
    "grid in 16 bits: the unit itself for its neighbour": (GRID_16, "h_j, 4);", "h_j, 0);"),
    "grid in 16 bits: the last units are not sent": (GRID_16, "unit < 4 * 42", "unit < 160"),
    "grid in 16 bits: columns of the first warp": (
        GRID_16,
        "(q * splits + warp) + 8",
        "q * splits + 8",
    ),
    "grid in 16 bits: sums of one warp": (GRID_16, "w < splits; w++", "w < 1; w++"),
    "grid in 16 bits: no barrier between sums": (
        GRID_16,
        "= sum[g][i];\n        __syncthreads();",
        "= sum[g][i];",
    ),
    "grid in 16 bits: the second unit of a lane": (
        GRID_16,
        "warp / 2 * 8, own",
        "warp / 2 * 4, own",
    ),
    "grid in 16 bits: steps of the last": (
        GRID_16,
        "steps = max(steps, net_count(s, d, sequence + j));",
        "steps = net_count(s, d, sequence + j);",
    ),
    "16 bits: the rest of columns": (STEP_16, "column + k < width", "column + k + 1 < width"),
    "16 bits: tiles exchanged": (STEP_16, "tile[i / 4][g][i % 4]", "tile[i / 4][g][i % 4 ^ 1]"),
    "16 bits: no own h": (STEP_16, "net_widen(call, h_0)", "cudaSuccess"),
    "16 bits: c not narrowed": (PROJECTED_16, "error ? error : net_narrow(call, c_n)", "error"),
    "old m": (
        PROJECTED,
        "m[at * 20 + unit] = h_j;",
        "if (done == 0)\n            m[at * 20 + unit] = h_j;",
    ),
}
CASES = [
    Case(steps, batch, ragged, states, batch_first=False)
    for steps, batch, ragged, states in (
        (1, 1, False, False),
        (5, 2, False, True),
        (6, 9, True, True),
        (7, 17, True, False),
    )
]


LONG = [Case(50, 2, ragged=False, states=False, batch_first=False)]
TURN = [Case(3, 41, ragged=False, states=True, batch_first=False)]
TURN += [Case(25, 22, ragged=True, states=True, batch_first=False)]


def cases(fields):
    """What layers have between each other is written to again and again. Sets of a grid take turns,
    in rounds of three.
    """
    if fields in (TURNS, TURNS_16):
        return CASES + TURN
    return CASES + LONG if fields in (WAVE, WAVES, WAVE_16) else CASES


def cut(fields, monkeypatch):
    """Several stretches where there are many sequences, of several steps."""
    if fields is STEP_16:  # with too few multiprocessors for a grid
        monkeypatch.setenv("SHIM_PROCESSORS", "1")
    if fields in (GRID_16, TURNS, TURNS_16):  # room for three sets, or for one beside others
        monkeypatch.setattr(Grid, "slots", 3)
        sets = 3 if fields is GRID_16 else 1
        monkeypatch.setenv("SHIM_PROCESSORS", str(sets * plan(**fields).grid.resident))
    if fields in (WAVE, WAVES, WAVE_16):  # sets take turns, and layers wait for what is read
        rooms = (WAVE, "28"), (WAVES, "24"), (WAVE_16, "14")
        monkeypatch.setenv("SHIM_PROCESSORS", next(room for net, room in rooms if net is fields))
        for kind in (wavefront.WavefrontQuads, wavefront.WavefrontTiles):
            monkeypatch.setattr(kind, "ring", 4 if fields is WAVE else 2)
            monkeypatch.setattr(kind, "half", 2 if fields is WAVE else 1)
            monkeypatch.setattr(kind, "cycles", 1)  # always worth it
    if fields is SHARED_CLUSTER_16:  # a smaller one than such as are chosen
        monkeypatch.setattr(strategy, "choose", lambda *sizes: (Tiles(*sizes[:2], 2, splits=4),))
    p = plan(**fields)
    monkeypatch.setattr(cuda, "STRETCH", 3 * 17 * p.sums_row * p.dtype.real.bytes)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant(name, monkeypatch):
    fields, right, wrong = MUTANTS[name]
    cut(fields, monkeypatch)

    def change(text: str) -> str:
        assert right in text, "the text has changed: change the mutant"
        return text.replace(right, wrong)

    network = with_weights(plan(**fields), change, "-w")
    try:
        report = errors(network, *cases(fields))
    except DeviceError:
        return
    assert not report.ok, report


@pytest.mark.parametrize(
    "fields",
    [
        *(SM, FULL, LSTM, CLUSTER, SIXTEEN, GRID, TURNS, WAVE, WAVES, STEP, PROJECTED),
        *(SM_16, KEPT_16, CLUSTER_16, GRID_16, TURNS_16, WAVE_16, STEP_16, PROJECTED_16),
        *(SHARED_16, SHARED_CLUSTER_16),
    ],
)
def test_without_mutation(fields, monkeypatch):
    """The same cases with nothing changed are right."""
    cut(fields, monkeypatch)
    report = errors(with_weights(plan(**fields)), *cases(fields))
    assert report.ok, report
