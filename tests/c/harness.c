/* Drives one generated network as an embedder would, in memory that ends where it should.
 *
 *     harness T B RAGGED < weights, states [B], x, lengths [B] (8 bytes each)  > y, states [B]
 *
 * Compiled with -DNET=name -DHEADER="name.h" -DREAL=float -DINPUTS=n -DOUTPUTS=n, with -DSTEPS for
 * one direction, -DBATCH_FIRST for that layout. Exits with 1 and a message where steps, threads,
 * ragged calls or error codes are not what the header promises. */
#include HEADER

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)
#define N(suffix) JOIN(NET, suffix)

#ifdef BATCH_FIRST
#define ROW(t, b, j) ((b) * (j)->T + (t))
#else
#define ROW(t, b, j) ((t) * (j)->B + (b))
#endif

typedef N(_weights) weights;
typedef N(_state) state;
typedef REAL real;

static void *take(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);

    if (!p || fread(p, 1, bytes, stdin) != bytes)
        exit(2);
    return p;
}

static void expect(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "harness: %s\n", what);
        exit(1);
    }
}

typedef struct {
    const weights *w;
    const state *start;
    const real *x;
    const size_t *lengths;
    size_t T, B, outputs;
    state *s;
    real *y;
} job;

static void *forward(void *argument)
{
    job *const j = argument;
    const size_t needed = N(_workspace)(j->T, j->B);
    void *scratch = needed ? malloc(needed) : NULL;

    j->s = malloc(j->B * sizeof *j->s);
    j->y = calloc(j->T * j->B * j->outputs, sizeof *j->y);
    memcpy(j->s, j->start, j->B * sizeof *j->s);
    expect(!N(_forward)(j->w, j->s, j->x, j->lengths, j->y, j->T, j->B, scratch, needed), "forward");
    free(scratch);
    return NULL;
}

/* Every error code, and that nothing is written with it. */
static void errors(const job *j)
{
    const size_t needed = N(_workspace)(j->T, j->B);
    void *scratch = malloc(needed + 1);
    state *s = malloc(j->B * sizeof *s);
    real *y = malloc(j->T * j->B * j->outputs * sizeof *y);
    size_t *lengths = malloc(j->B * sizeof *lengths);
    const real mark = 7;

    memcpy(s, j->start, j->B * sizeof *s);
    y[0] = mark;
#define CALL(w, s, x, l, y, T, bytes) N(_forward)(w, s, x, l, y, T, j->B, scratch, bytes)
    expect(CALL(NULL, s, j->x, NULL, y, j->T, needed) == 1, "NULL weights");
    expect(CALL(j->w, NULL, j->x, NULL, y, j->T, needed) == 1, "NULL state");
    expect(CALL(j->w, s, NULL, NULL, y, j->T, needed) == 1, "NULL x");
    expect(CALL(j->w, s, j->x, NULL, NULL, j->T, needed) == 1, "NULL y");
    expect(CALL(j->w, s, j->x, NULL, y, 0, needed) == 2, "no steps");
    for (size_t b = 0; b < j->B; b++)
        lengths[b] = j->T;
    lengths[j->B - 1] = 0;
    expect(CALL(j->w, s, j->x, lengths, y, j->T, needed) == 3, "a length of 0");
    lengths[j->B - 1] = j->T + 1;
    expect(CALL(j->w, s, j->x, lengths, y, j->T, needed) == 3, "a length above T");
    if (needed) {
        expect(CALL(j->w, s, j->x, NULL, y, j->T, needed - 1) == 4, "a small workspace");
        expect(N(_forward)(j->w, s, j->x, NULL, y, j->T, j->B, NULL, needed) == 1, "no workspace");
    }
    expect(!N(_forward)(j->w, s, j->x, NULL, y, j->T, 0, scratch, needed), "no sequences");
    expect(y[0] == mark && !memcmp(s, j->start, j->B * sizeof *s), "something was written");
    if (N(_workspace)(1000, 2) > N(_workspace)(1, 1))
        expect(N(_workspace)(SIZE_MAX / 2, 4) == SIZE_MAX, "an overflow");
    free(lengths);
    free(y);
    free(s);
    free(scratch);
}

/* The same sequences without padding, bit for bit, in memory that ends with the last one. */
static void ragged(const job *j, size_t inputs)
{
    size_t rows = 0, row = 0;

    for (size_t b = 0; b < j->B; b++)
        rows += j->lengths[b];

    const size_t needed = N(_workspace)(rows, 1);
    void *scratch = needed ? malloc(needed) : NULL;
    real *x = malloc(rows * inputs * sizeof *x), *y = malloc(rows * j->outputs * sizeof *y);
    state *s = malloc(j->B * sizeof *s);
    size_t *lengths = malloc(j->B * sizeof *lengths);

    memcpy(s, j->start, j->B * sizeof *s);
    memcpy(lengths, j->lengths, j->B * sizeof *lengths);
    for (size_t b = 0; b < j->B; b++)
        for (size_t t = 0; t < lengths[b]; t++)
            memcpy(x + row++ * inputs, j->x + ROW(t, b, j) * inputs, inputs * sizeof *x);
#define RAGGED(w, s, x, l, y, bytes) N(_forward_ragged)(w, s, x, l, y, j->B, scratch, bytes)
    expect(RAGGED(NULL, s, x, lengths, y, needed) == 1, "NULL weights, ragged");
    expect(RAGGED(j->w, s, x, NULL, y, needed) == 1, "NULL lengths");
    if (needed)
        expect(RAGGED(j->w, s, x, lengths, y, needed - 1) == 4, "a small workspace, ragged");
    if (needed)
        expect(N(_forward_ragged)(j->w, s, x, lengths, y, j->B, NULL, needed) == 1, "no workspace");
    lengths[0] = 0;
    expect(RAGGED(j->w, s, x, lengths, y, needed) == 3, "a length of 0, ragged");
    lengths[0] = SIZE_MAX;
    expect(j->B < 2 || RAGGED(j->w, s, x, lengths, y, needed) == 3, "lengths that overflow");
    lengths[0] = j->lengths[0];
    expect(!RAGGED(j->w, s, x, lengths, y, needed), "ragged");
    expect(!memcmp(s, j->s, j->B * sizeof *s), "the states of a ragged call");
    row = 0;
    for (size_t b = 0; b < j->B; b++)
        for (size_t t = 0; t < lengths[b]; t++)
            expect(!memcmp(y + row++ * j->outputs, j->y + ROW(t, b, j) * j->outputs,
                           j->outputs * sizeof *y), "the output of a ragged call");
    free(lengths);
    free(s);
    free(y);
    free(x);
    free(scratch);
}

typedef struct {
    const job *j;
    N(_share) share;
    state *s;
    real *y;
    void *scratch;
    size_t bytes;
} part;

static void *work(void *argument)
{
    const part *const p = argument;
    const job *const j = p->j;

    expect(!N(_forward_share)(j->w, p->s, j->x, j->lengths, p->y, j->T, j->B, &p->share, p->scratch, p->bytes),
           "a share");
    return NULL;
}

/* The same call by two threads: half of the sequences each, then, layer by layer, a direction each. */
static void shared(const job *j)
{
    const int passes = (int)(sizeof j->s->h / sizeof j->s->h[0]);
    const size_t bytes = N(_workspace)(j->T, j->B) + N(_workspace)(0, 0);
    const size_t numbers = j->T * j->B * j->outputs;
    part parts[2];
    pthread_t thread;

    parts[0] = (part){j, {0, j->B / 2, 0, passes, 0}, malloc(j->B * sizeof(state)),
                      calloc(numbers, sizeof(real)), malloc(bytes), bytes};
    parts[1] = parts[0];
    for (int directions = 1; directions <= 2; directions++) {
        if (directions == 2 && OUTPUTS == sizeof j->s->h[0] / sizeof(real))
            break;
        memcpy(parts[0].s, j->start, j->B * sizeof(state));
        memset(parts[0].y, 0, numbers * sizeof(real));
        for (int pass = 0; pass < passes; pass += directions == 2 ? 2 : passes) {
            for (int i = 0; i < 2; i++)
                parts[i].share = directions == 2
                    ? (N(_share)){0, j->B, pass + i, pass + i + 1, (size_t)i}
                    : (N(_share)){i ? j->B / 2 : 0, i ? j->B : j->B / 2, 0, passes, (size_t)i};
            expect(!pthread_create(&thread, NULL, work, parts + 1), "a thread");
            work(parts);
            pthread_join(thread, NULL);
        }
        expect(!memcmp(parts[0].y, j->y, numbers * sizeof(real)), "the output of shares");
        expect(!memcmp(parts[0].s, j->s, j->B * sizeof(state)), "the states of shares");
    }
#define SHARE(...) N(_forward_share)(j->w, parts[0].s, j->x, j->lengths, parts[0].y, j->T, j->B, \
                                     &(N(_share)){__VA_ARGS__}, parts[0].scratch, bytes)
    expect(SHARE(0, j->B + 1, 0, passes, 0) == 5, "sequences that are not there");
    expect(SHARE(1, 0, 0, passes, 0) == 5, "sequences that end before they begin");
    expect(SHARE(0, j->B, -1, passes, 0) == 5, "a pass before the first");
    expect(SHARE(0, j->B, 0, passes + 1, 0) == 5, "a pass beyond the last");
    expect(SHARE(0, j->B, 0, passes, 2) == 4, "scratch for two threads only");
    expect(N(_forward_share)(j->w, parts[0].s, j->x, j->lengths, parts[0].y, j->T, j->B, NULL,
                             parts[0].scratch, bytes) == 1, "NULL share");
    free(parts[0].scratch);
    free(parts[0].y);
    free(parts[0].s);
}

/* States of all sequences from or to torch's layout [passes][B][n]; `at` is where one has them. */
static void transpose(const job *j, state *s, size_t at, size_t passes, size_t n, real *torch, int back)
{
    for (size_t pass = 0; pass < passes; pass++)
        for (size_t b = 0; b < j->B; b++) {
            real *const own = (real *)(s + b) + at + pass * n, *const other = torch + (pass * j->B + b) * n;

            memcpy(back ? own : other, back ? other : own, n * sizeof(real));
        }
}

/* The same with states as torch has them, a part of the sequences after the other. */
static void as_torch(const job *j)
{
    const size_t h = sizeof j->s->h / sizeof(real), passes = sizeof j->s->h / sizeof j->s->h[0];
    const size_t all = sizeof(state) / sizeof(real), c = all - h, bytes = N(_workspace)(j->T, j->B);
    const size_t numbers = j->T * j->B * j->outputs;
    real *first = malloc(j->B * sizeof(state)), *last = malloc(j->B * sizeof(state));
    real *y = calloc(numbers, sizeof *y);
    state *s = malloc(j->B * sizeof *s);
    void *scratch = malloc(bytes);
    N(_share) share = {0, 1, 0, (int)passes, 0};

    transpose(j, (state *)j->start, 0, passes, h / passes, first, 0);
    transpose(j, (state *)j->start, h, passes, c / passes, first + j->B * h, 0);
#define AS_TORCH N(_forward_share)(j->w, NULL, j->x, j->lengths, y, j->T, j->B, &share, scratch, bytes)
    expect(AS_TORCH == 1, "NULL states");
    share.h_0 = first;
    share.h_n = last;
#ifdef C_STATES
    expect(AS_TORCH == 1, "NULL c_n");
    share.c_0 = first + j->B * h;
    share.c_n = last + j->B * h;
#endif
    expect(!AS_TORCH, "a sequence with states as torch has them");
    share.end_pass = -1;
    expect(!AS_TORCH, "no pass");
    share.end_pass = (int)passes;
    share.first = 1;
    share.end = j->B;
#ifdef BACK
    share.back = 1;
#endif
    expect(!AS_TORCH, "the other ones");
    transpose(j, s, 0, passes, h / passes, last, 1);
    transpose(j, s, h, passes, c / passes, last + j->B * h, 1);
    expect(!memcmp(y, j->y, numbers * sizeof *y), "the output beside states as torch has them");
    expect(!memcmp(s, j->s, j->B * sizeof *s), "states as torch has them");
    memset(s, 0, j->B * sizeof *s);
    expect(!N(_forward)(j->w, s, j->x, j->lengths, y, j->T, j->B, scratch, bytes), "from zero");
    transpose(j, s, 0, passes, h / passes, first, 0);
    share = (N(_share)){0, j->B, 0, (int)passes, 0, .h_n = last};
#ifdef C_STATES
    share.c_n = last + j->B * h;
#endif
    expect(!AS_TORCH, "no states before");
    expect(!memcmp(last, first, j->B * h * sizeof *last), "states from zero");
    free(scratch);
    free(s);
    free(y);
    free(last);
    free(first);
}

#ifdef STEPS
/* step after step against forward, bit for bit. */
static void steps(const job *j, size_t inputs)
{
    real *y = malloc(j->outputs * sizeof *y);

    for (size_t b = 0; b < j->B; b++) {
        state s = j->start[b];
        const size_t length = j->lengths ? j->lengths[b] : j->T;

        for (size_t t = 0; t < length; t++) {
            const size_t row = ROW(t, b, j);

            expect(!N(_step)(j->w, &s, j->x + row * inputs, y), "step");
            expect(!memcmp(y, j->y + row * j->outputs, j->outputs * sizeof *y), "a step's output");
        }
        expect(!memcmp(&s, j->s + b, sizeof s), "the state after the steps");
    }
    expect(N(_step)(NULL, j->s, j->x, y) == 1 && N(_step)(j->w, NULL, j->x, y) == 1, "NULL");
    expect(N(_step)(j->w, j->s, NULL, y) == 1 && N(_step)(j->w, j->s, j->x, NULL) == 1, "NULL");
    free(y);
}
#endif

/* The same sequences packed step by step, longest first, bit for bit. */
static void packed(const job *j, size_t inputs)
{
    size_t rows = 0, *order = malloc(j->B * sizeof *order), *lengths = malloc(j->B * sizeof *lengths);
    size_t *starts = malloc(j->T * sizeof *starts);

    for (size_t b = 0; b < j->B; b++) {
        size_t at = b;

        for (; at && j->lengths[order[at - 1]] < j->lengths[b]; at--)
            order[at] = order[at - 1];
        order[at] = b;
        rows += j->lengths[b];
    }

    const size_t needed = N(_workspace)(rows, 1);
    void *scratch = needed ? malloc(needed) : NULL;
    real *x = malloc(rows * inputs * sizeof *x), *y = malloc(rows * j->outputs * sizeof *y);
    state *s = malloc(j->B * sizeof *s);

    for (size_t b = 0; b < j->B; b++) {
        lengths[b] = j->lengths[order[b]];
        s[b] = j->start[order[b]];
    }
    for (size_t t = 0, row = 0; t < j->T; t++) {
        starts[t] = row;
        for (size_t b = 0; b < j->B && lengths[b] > t; b++)
            memcpy(x + row++ * inputs, j->x + ROW(t, order[b], j) * inputs, inputs * sizeof *x);
    }
#define PACKED(l, p, T, bytes) N(_forward_packed)(j->w, s, x, l, p, y, T, j->B, scratch, bytes)
    expect(PACKED(NULL, starts, j->T, needed) == 1, "NULL lengths, packed");
    expect(PACKED(lengths, NULL, j->T, needed) == 1, "NULL starts");
    expect(PACKED(lengths, starts, 0, needed) == 2, "no steps, packed");
    if (needed)
        expect(PACKED(lengths, starts, j->T, needed - 1) == 4, "a small workspace, packed");
    starts[j->T - 1]++;
    expect(PACKED(lengths, starts, j->T, needed) == 3, "starts that do not agree");
    starts[j->T - 1]--;
    lengths[j->B - 1] = lengths[0] + 1;
    expect(j->B < 2 || PACKED(lengths, starts, j->T + 1, needed) == 3, "lengths that rise");
    lengths[j->B - 1] = j->lengths[order[j->B - 1]];
    expect(!PACKED(lengths, starts, j->T, needed), "packed");
    for (size_t b = 0; b < j->B; b++) {
        expect(!memcmp(s + b, j->s + order[b], sizeof *s), "the states of a packed call");
        for (size_t t = 0; t < lengths[b]; t++)
            expect(!memcmp(y + (starts[t] + b) * j->outputs, j->y + ROW(t, order[b], j) * j->outputs,
                           j->outputs * sizeof *y), "the output of a packed call");
    }
    free(s);
    free(y);
    free(x);
    free(scratch);
    free(starts);
    free(lengths);
    free(order);
}

int main(int argc, char **argv)
{
    enum { THREADS = 4 };
    const size_t T = (size_t)atoi(argv[1]), B = (size_t)atoi(argv[2]);
    const size_t inputs = INPUTS, outputs = OUTPUTS;
    weights *w = take(sizeof *w);
    state *start = take(B * sizeof *start);
    real *x = take(T * B * inputs * sizeof *x);
    uint64_t *given = argc > 3 && argv[3][0] == '1' ? take(B * sizeof *given) : NULL;
    size_t *lengths = given ? malloc(B * sizeof *lengths) : NULL;
    job jobs[THREADS];
    pthread_t threads[THREADS];

    for (size_t b = 0; given && b < B; b++)
        lengths[b] = (size_t)given[b];
    for (int i = 0; i < THREADS; i++) {
        jobs[i] = (job){w, start, x, lengths, T, B, outputs, NULL, NULL};
        expect(!pthread_create(threads + i, NULL, forward, jobs + i), "a thread");
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        expect(!memcmp(jobs[i].y, jobs[0].y, T * B * outputs * sizeof *x), "a thread's output");
    }
#ifdef STEPS
    steps(jobs, inputs);
#endif
    if (lengths) {
        ragged(jobs, inputs);
        packed(jobs, inputs);
    }
    shared(jobs);
    as_torch(jobs);
    errors(jobs);
    fwrite(jobs[0].y, sizeof *x, T * B * outputs, stdout);
    fwrite(jobs[0].s, sizeof *start, B, stdout);
    for (int i = 0; i < THREADS; i++) {
        free(jobs[i].y);
        free(jobs[i].s);
    }
    free(lengths);
    free(given);
    free(x);
    free(start);
    free(w);
    return 0;
}
