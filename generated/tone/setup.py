"""tone as a wheel: `pip install .` compiles its C for any machine of this kind."""

from cffi import FFI
from setuptools import setup

ffibuilder = FFI()
ffibuilder.cdef(
    """
enum {
    TONE_INPUT_SIZE = 1,
    TONE_HIDDEN_SIZE = 16,
    TONE_OUTPUT_SIZE = 16,
    TONE_NUM_LAYERS = 1,
    TONE_NUM_DIRECTIONS = 1
};

/* What every call returns. After an error nothing has been written. */
enum {
    TONE_OK = 0,
    TONE_E_NULL = 1,      /* a pointer is NULL */
    TONE_E_STEPS = 2,     /* T is 0 */
    TONE_E_LENGTH = 3,    /* a length is 0 or above T, or lengths and starts do not agree */
    TONE_E_WORKSPACE = 4, /* the workspace is smaller than tone_workspace says */
    TONE_E_SHARE = 5      /* a share has other sequences or passes than the call */
};

/* Weights as rnngen packs them, in the order they are read; best aligned to 64 bytes. */
typedef struct {
    float l0[288];
} tone_weights;

/* What one sequence carries from step to step; all zero to start. Indices as torch's h_n:
 * layer, then the unit. */
typedef struct {
    float h[1][16];
} tone_state;

/* Bytes of scratch memory that a forward call over T steps of B sequences needs; SIZE_MAX if no
 * memory could hold them. */
size_t tone_workspace(size_t T, size_t B);

/* B sequences of T steps: x [T][B][1] -> y [T][B][16].
 * s [B] is read, and left as it is after each sequence's last step.
 * lengths [B] says how many steps each sequence has, 1 to T; NULL: T each. Steps beyond a length
 * are neither read in x nor written in y.
 * workspace is aligned as malloc aligns.
 * B may be 0. Nothing may overlap. Keeps no pointer, allocates nothing, takes less than 8 KB of
 * stack. */
int tone_forward(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);

/* The same without padding: B sequences, each of lengths [B] steps, one after the other in
 * x [N][1] -> y [N][16], N the sum of lengths.
 * The workspace is that of N steps of one sequence. */
int tone_forward_ragged(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);

/* The same of rows as torch packs them: the first step of each sequence, then the second of each
 * that has one, and so on, the longest sequence first. Step t of sequence b is row starts[t] + b;
 * starts [T] have to agree with lengths [B].
 * The workspace is that of N steps of one sequence. */
int tone_forward_packed(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);

/* What one thread does of a call: sequences from first to before end, passes from first_pass to
 * before end_pass; a pass is a layer. Threads are numbered from 0. */
typedef struct {
    size_t first, end;
    int first_pass, end_pass;
    size_t thread;
    const size_t *starts; /* those of tone_forward_packed, NULL for the others */
    /* If s is NULL, states of the whole call as torch has them: h [1][B][16]. */
    const float *h_0; /* before it; NULL for zero */
    float *h_n; /* and after it, elsewhere */
} tone_share;

/* A share of tone_forward, where T is 0 of tone_forward_ragged, or where there are starts
 * of tone_forward_packed, with the arguments of the whole call. Threads may do shares of one call
 * side by side where these have no sequence in common.
 * n threads need n - 1 times tone_workspace(0, 0) more of workspace. The numbers, bit for bit, do
 * not depend on how a call is shared. */
int tone_forward_share(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const tone_share *share, void *workspace,
    size_t workspace_bytes);

/* One step of one sequence: x [1] -> y [16]. The same numbers, bit for bit, as tone_forward. */
int tone_step(const tone_weights *w, tone_state *s, const float *x, float *y);

/* The same calls, one level each. */
int tone_forward_portable(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_ragged_portable(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_packed_portable(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_share_portable(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const tone_share *share, void *workspace,
    size_t workspace_bytes);
int tone_step_portable(const tone_weights *w, tone_state *s, const float *x, float *y);
int tone_forward_avx2(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_ragged_avx2(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_packed_avx2(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_share_avx2(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const tone_share *share, void *workspace,
    size_t workspace_bytes);
int tone_step_avx2(const tone_weights *w, tone_state *s, const float *x, float *y);
int tone_forward_avx512(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_ragged_avx512(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_packed_avx512(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    const size_t *starts, float *y, size_t T, size_t B, void *workspace, size_t workspace_bytes);
int tone_forward_share_avx512(
    const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
    float *y, size_t T, size_t B, const tone_share *share, void *workspace,
    size_t workspace_bytes);
int tone_step_avx512(const tone_weights *w, tone_state *s, const float *x, float *y);

/* A call or a share of it, of one level or of all, and its arguments, fixed beforehand. */
typedef struct {
    int (*forward_share)(
        const tone_weights *w, tone_state *s, const float *x, const size_t *lengths,
        float *y, size_t T, size_t B, const tone_share *share, void *workspace,
        size_t workspace_bytes);
    int (*step)(const tone_weights *w, tone_state *s, const float *x, float *y);
    const tone_weights *w;
    tone_state *s; /* NULL: those of the share */
    const float *x;
    const size_t *lengths;
    float *y;
    size_t T, B;
    void *workspace;
    size_t workspace_bytes;
    tone_share share;
} tone_bound;

/* All steps, or T of them; returns what the call returns, as do the others. */
int tone_bound_run(tone_bound *b);
int tone_bound_steps(tone_bound *b, size_t T);

/* All, with input, states and answer elsewhere: y, then h_n. */
int tone_bound_elsewhere(
    const tone_bound *b, const float *x, const float *h_0, float *answer);

/* One step of one sequence. */
int tone_bound_step(tone_bound *b);

/* The first of these for a worker, who does not know whose call it is. */
int tone_bound_job(void *bound);

/* What a thread of Python's is to do for calls, and how far it is; zeros: it sleeps. */
typedef struct {
    int (*run)(void *job);
    void *job;
    int answer, state, cpu;
} tone_worker;

/* Gives something to do to one that has nothing; returns whether it has to be woken. */
int tone_worker_offer(tone_worker *w, int (*run)(void *job), void *job);

/* Waits for it, does it here if nobody has begun; returns what came of it, each time. */
int tone_worker_settle(tone_worker *w);

/* For the thread when woken, be it for nothing: does what is offered, until nothing has come for so
 * many pauses. */
void tone_worker_serve(tone_worker *w, long pauses);
"""
)
ffibuilder.set_source(
    "tone._tone_8f48d239b47730e5",
    '#include "tone_bound.h"\n#include "tone_levels.h"',
    sources=[
        "tone.c",
        "tone_avx512.c",
        "tone_avx2.c",
        "tone_bound.c",
    ],
    include_dirs=["."],
    extra_compile_args=[
        "-std=c99",
        "-O3",
        "-ffp-contract=fast",
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fvisibility=hidden",
        "-DTONE_DISPATCH",
    ],
    py_limited_api=True,
)

if __name__ == "__main__":
    setup(
        script_name="setup.py",  # which keeps it out of the wheel
        cffi_modules=["setup.py:ffibuilder"],
        options={"bdist_wheel": {"py_limited_api": "cp310"}},
    )
