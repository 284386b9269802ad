"""notebook_gru as a wheel: `pip install .` compiles its C for any machine of this kind."""

from cffi import FFI
from setuptools import setup

ffibuilder = FFI()
ffibuilder.cdef(
    """
enum {
    NOTEBOOK_GRU_INPUT_SIZE = 1,
    NOTEBOOK_GRU_HIDDEN_SIZE = 2,
    NOTEBOOK_GRU_OUTPUT_SIZE = 4,
    NOTEBOOK_GRU_NUM_LAYERS = 2,
    NOTEBOOK_GRU_NUM_DIRECTIONS = 2
};

/* What every call returns. After an error nothing has been written. */
enum {
    NOTEBOOK_GRU_OK = 0,
    NOTEBOOK_GRU_E_NULL = 1,      /* a pointer is NULL */
    NOTEBOOK_GRU_E_STEPS = 2,     /* T is 0 */
    NOTEBOOK_GRU_E_LENGTH = 3,    /* a length is 0 or above T, or lengths and starts do not agree */
    NOTEBOOK_GRU_E_WORKSPACE = 4, /* the workspace is smaller than notebook_gru_workspace says */
    NOTEBOOK_GRU_E_SHARE = 5      /* a share has other sequences or passes than the call */
};

/* Weights as rnngen packs them, in the order they are read; best aligned to 64 bytes. */
typedef struct {
    float l0[52];
    float l0_reverse[52];
    float l1[88];
    float l1_reverse[88];
} notebook_gru_weights;

/* What one sequence carries from step to step; all zero to start. Indices as torch's h_n:
 * layer * 2 + direction, then the unit. */
typedef struct {
    float h[4][2];
} notebook_gru_state;

/* Bytes of scratch memory that a forward call over T steps of B sequences needs; SIZE_MAX if no
 * memory could hold them. */
size_t notebook_gru_workspace(size_t T, size_t B);

/* B sequences of T steps: x [T][B][1] -> y [T][B][4].
 * s [B] is read, and left as it is after each sequence's last step.
 * lengths [B] says how many steps each sequence has, 1 to T; NULL: T each. Steps beyond a length
 * are neither read in x nor written in y.
 * workspace is aligned as malloc aligns.
 * B may be 0. Nothing may overlap. Keeps no pointer, allocates nothing, takes less than 8 KB of
 * stack. */
int notebook_gru_forward(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);

/* The same without padding: B sequences, each of lengths [B] steps, one after the other in
 * x [N][1] -> y [N][4], N the sum of lengths.
 * The workspace is that of N steps of one sequence. */
int notebook_gru_forward_ragged(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);

/* The same of rows as torch packs them: the first step of each sequence, then the second of each
 * that has one, and so on, the longest sequence first. Step t of sequence b is row starts[t] + b;
 * starts [T] have to agree with lengths [B].
 * The workspace is that of N steps of one sequence. */
int notebook_gru_forward_packed(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);

/* What one thread does of a call: sequences from first to before end, passes from first_pass to
 * before end_pass; a pass is a layer * 2 + direction. Threads are numbered from 0. */
typedef struct {
    size_t first, end;
    int first_pass, end_pass;
    size_t thread;
    const size_t *starts; /* those of notebook_gru_forward_packed, NULL for the others */
    /* If s is NULL, states of the whole call as torch has them: h [4][B][2]. */
    const float *h_0; /* before it; NULL for zero */
    float *h_n; /* and after it, elsewhere */
} notebook_gru_share;

/* A share of notebook_gru_forward, where T is 0 of notebook_gru_forward_ragged, or where there are starts
 * of notebook_gru_forward_packed, with the arguments of the whole call. Threads may do shares of one call
 * side by side where these have no sequence in common, or are the two directions of one layer;
 * a layer waits for the one below.
 * n threads need n - 1 times notebook_gru_workspace(0, 0) more of workspace. The numbers, bit for bit, do
 * not depend on how a call is shared. */
int notebook_gru_forward_share(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const notebook_gru_share *share, void *workspace,
    size_t workspace_bytes);

/* The same calls, one level each. */
int notebook_gru_forward_portable(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_ragged_portable(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_packed_portable(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_share_portable(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const notebook_gru_share *share, void *workspace,
    size_t workspace_bytes);
int notebook_gru_forward_avx2(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_ragged_avx2(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_packed_avx2(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_share_avx2(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const notebook_gru_share *share, void *workspace,
    size_t workspace_bytes);
int notebook_gru_forward_avx512(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_ragged_avx512(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_packed_avx512(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int notebook_gru_forward_share_avx512(
    const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const notebook_gru_share *share, void *workspace,
    size_t workspace_bytes);

/* A call or a share of it, of one level or of all, and its arguments, fixed beforehand. */
typedef struct {
    int (*forward_share)(
        const notebook_gru_weights *w, notebook_gru_state *s, const float *x, const size_t *lengths,
        float *y, size_t T, size_t B, const notebook_gru_share *share, void *workspace,
        size_t workspace_bytes);
    const notebook_gru_weights *w;
    notebook_gru_state *s; /* NULL: those of the share */
    const float *x;
    const size_t *lengths;
    float *y;
    size_t T, B;
    void *workspace;
    size_t workspace_bytes;
    notebook_gru_share share;
} notebook_gru_bound;

/* All steps, or T of them; returns what the call returns, as do the others. */
int notebook_gru_bound_run(notebook_gru_bound *b);
int notebook_gru_bound_steps(notebook_gru_bound *b, size_t T);

/* All, with input, states and answer elsewhere: y, then h_n. */
int notebook_gru_bound_elsewhere(
    const notebook_gru_bound *b, const float *x, const float *h_0, float *answer);

/* The first of these for a worker, who does not know whose call it is. */
int notebook_gru_bound_job(void *bound);

/* What a thread of Python's is to do for calls, and how far it is; zeros: it sleeps. */
typedef struct {
    int (*run)(void *job);
    void *job;
    int answer, state, cpu;
} notebook_gru_worker;

/* Gives something to do to one that has nothing; returns whether it has to be woken. */
int notebook_gru_worker_offer(notebook_gru_worker *w, int (*run)(void *job), void *job);

/* Waits for it, does it here if nobody has begun; returns what came of it, each time. */
int notebook_gru_worker_settle(notebook_gru_worker *w);

/* For the thread when woken, be it for nothing: does what is offered, until nothing has come for so
 * many pauses. */
void notebook_gru_worker_serve(notebook_gru_worker *w, long pauses);
"""
)
ffibuilder.set_source(
    "notebook_gru._notebook_gru_b049c9e9b5d6dd5f",
    '#include "notebook_gru_bound.h"\n#include "notebook_gru_levels.h"',
    sources=[
        "notebook_gru.c",
        "notebook_gru_avx512.c",
        "notebook_gru_avx2.c",
        "notebook_gru_bound.c",
    ],
    include_dirs=["."],
    extra_compile_args=[
        "-std=c99",
        "-O3",
        "-ffp-contract=fast",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-DNOTEBOOK_GRU_DISPATCH",
    ],
    py_limited_api=True,
)

if __name__ == "__main__":
    setup(
        script_name="setup.py",  # which keeps it out of the wheel
        cffi_modules=["setup.py:ffibuilder"],
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )
