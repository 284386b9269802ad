"""kws as a wheel: `pip install .` compiles its C for any machine of this kind."""

from cffi import FFI
from setuptools import setup

ffibuilder = FFI()
ffibuilder.cdef(
    """
enum {
    KWS_INPUT_SIZE = 40,
    KWS_HIDDEN_SIZE = 64,
    KWS_OUTPUT_SIZE = 64,
    KWS_NUM_LAYERS = 2,
    KWS_NUM_DIRECTIONS = 1
};

/* What every call returns. After an error nothing has been written. */
enum {
    KWS_OK = 0,
    KWS_E_NULL = 1,      /* a pointer is NULL */
    KWS_E_STEPS = 2,     /* T is 0 */
    KWS_E_LENGTH = 3,    /* a length is 0 or above T, or lengths and starts do not agree */
    KWS_E_WORKSPACE = 4, /* the workspace is smaller than kws_workspace says */
    KWS_E_SHARE = 5      /* a share has other sequences or passes than the call */
};

/* Weights as rnngen packs them, in the order they are read; best aligned to 64 bytes. */
typedef struct {
    float l0[20224];
    float l1[24832];
} kws_weights;

/* What one sequence carries from step to step; all zero to start. Indices as torch's h_n:
 * layer, then the unit. */
typedef struct {
    float h[2][64];
} kws_state;

/* Bytes of scratch memory that a forward call over T steps of B sequences needs; SIZE_MAX if no
 * memory could hold them. */
size_t kws_workspace(size_t T, size_t B);

/* B sequences of T steps: x [T][B][40] -> y [T][B][64].
 * s [B] is read, and left as it is after each sequence's last step.
 * lengths [B] says how many steps each sequence has, 1 to T; NULL: T each. Steps beyond a length
 * are neither read in x nor written in y.
 * workspace is aligned as malloc aligns.
 * B may be 0. Nothing may overlap. Keeps no pointer, allocates nothing, takes less than 8 KB of
 * stack. */
int kws_forward(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);

/* The same without padding: B sequences, each of lengths [B] steps, one after the other in
 * x [N][40] -> y [N][64], N the sum of lengths.
 * The workspace is that of N steps of one sequence. */
int kws_forward_ragged(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);

/* The same of rows as torch packs them: the first step of each sequence, then the second of each
 * that has one, and so on, the longest sequence first. Step t of sequence b is row starts[t] + b;
 * starts [T] have to agree with lengths [B].
 * The workspace is that of N steps of one sequence. */
int kws_forward_packed(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);

/* What one thread does of a call: sequences from first to before end, passes from first_pass to
 * before end_pass; a pass is a layer. Threads are numbered from 0. */
typedef struct {
    size_t first, end;
    int first_pass, end_pass;
    size_t thread;
    const size_t *starts; /* those of kws_forward_packed, NULL for the others */
    /* If s is NULL, states of the whole call as torch has them: h [2][B][64]. */
    const float *h_0; /* before it; NULL for zero */
    float *h_n; /* and after it, elsewhere */
} kws_share;

/* A share of kws_forward, where T is 0 of kws_forward_ragged, or where there are starts
 * of kws_forward_packed, with the arguments of the whole call. Threads may do shares of one call
 * side by side where these have no sequence in common.
 * n threads need n - 1 times kws_workspace(0, 0) more of workspace. The numbers, bit for bit, do
 * not depend on how a call is shared. */
int kws_forward_share(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const kws_share *share, void *workspace,
    size_t workspace_bytes);

/* One step of one sequence: x [40] -> y [64]. The same numbers, bit for bit, as kws_forward.
 * Rows between layers, 256 bytes, lie on the stack. */
int kws_step(const kws_weights *w, kws_state *s, const float *x, float *y);

/* The same calls, one level each. */
int kws_forward_portable(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_ragged_portable(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_packed_portable(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_share_portable(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const kws_share *share, void *workspace,
    size_t workspace_bytes);
int kws_step_portable(const kws_weights *w, kws_state *s, const float *x, float *y);
int kws_forward_avx2(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_ragged_avx2(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_packed_avx2(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_share_avx2(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const kws_share *share, void *workspace,
    size_t workspace_bytes);
int kws_step_avx2(const kws_weights *w, kws_state *s, const float *x, float *y);
int kws_forward_avx512(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_ragged_avx512(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_packed_avx512(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int kws_forward_share_avx512(
    const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const kws_share *share, void *workspace,
    size_t workspace_bytes);
int kws_step_avx512(const kws_weights *w, kws_state *s, const float *x, float *y);

/* A call or a share of it, of one level or of all, and its arguments, fixed beforehand. */
typedef struct {
    int (*forward_share)(
        const kws_weights *w, kws_state *s, const float *x, const size_t *lengths,
        float *y, size_t T, size_t B, const kws_share *share, void *workspace,
        size_t workspace_bytes);
    int (*step)(const kws_weights *w, kws_state *s, const float *x, float *y);
    const kws_weights *w;
    kws_state *s; /* NULL: those of the share */
    const float *x;
    const size_t *lengths;
    float *y;
    size_t T, B;
    void *workspace;
    size_t workspace_bytes;
    kws_share share;
} kws_bound;

/* All steps, or T of them; returns what the call returns, as do the others. */
int kws_bound_run(kws_bound *b);
int kws_bound_steps(kws_bound *b, size_t T);

/* All, with input, states and answer elsewhere: y, then h_n. */
int kws_bound_elsewhere(
    const kws_bound *b, const float *x, const float *h_0, float *answer);

/* One step of one sequence. */
int kws_bound_step(kws_bound *b);

/* The first of these for a worker, who does not know whose call it is. */
int kws_bound_job(void *bound);

/* What a thread of Python's is to do for calls, and how far it is; zeros: it sleeps. */
typedef struct {
    int (*run)(void *job);
    void *job;
    int answer, state, cpu;
} kws_worker;

/* Gives something to do to one that has nothing; returns whether it has to be woken. */
int kws_worker_offer(kws_worker *w, int (*run)(void *job), void *job);

/* Waits for it, does it here if nobody has begun; returns what came of it, each time. */
int kws_worker_settle(kws_worker *w);

/* For the thread when woken, be it for nothing: does what is offered, until nothing has come for so
 * many pauses. */
void kws_worker_serve(kws_worker *w, long pauses);
"""
)
ffibuilder.set_source(
    "kws._kws_3fd97524e29115b5",
    '#include "kws_bound.h"\n#include "kws_levels.h"',
    sources=[
        "kws.c",
        "kws_avx512.c",
        "kws_avx2.c",
        "kws_bound.c",
    ],
    include_dirs=["."],
    extra_compile_args=[
        "-std=c99",
        "-O3",
        "-ffp-contract=fast",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-DKWS_DISPATCH",
    ],
    py_limited_api=True,
)

if __name__ == "__main__":
    setup(
        script_name="setup.py",  # which keeps it out of the wheel
        cffi_modules=["setup.py:ffibuilder"],
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )
