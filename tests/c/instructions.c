/* Calls one generated network once, all its numbers zero, for a tool that counts instructions.
 *
 * Compiled with -DNET=name -DHEADER="name.h" -DREAL=float -DINPUTS=n -DOUTPUTS=n -DSTEPS=n
 * -DBATCH=n -DRAGGED=1 for sequences of unequal lengths, else 0. */
#include HEADER

#include <stdlib.h>

#define PASTE(a, b) a##b
#define JOIN(a, b) PASTE(a, b)
#define N(suffix) JOIN(NET, suffix)

static N(_weights) weights;
static N(_state) states[BATCH];
static REAL x[STEPS * BATCH * INPUTS], y[STEPS * BATCH * OUTPUTS];

int main(void)
{
    const size_t bytes = N(_workspace)(STEPS, BATCH);
    void *workspace = malloc(bytes + 1);
    size_t lengths[BATCH];

    for (size_t b = 0; b < BATCH; b++)
        lengths[b] = 1 + (b * 5 + STEPS - 1) % STEPS;

    const int code = N(_forward)(&weights, states, x, RAGGED ? lengths : NULL, y, STEPS, BATCH,
                                 workspace, bytes);

    free(workspace);
    return code;
}
