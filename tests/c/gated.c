/* Compares sigmoid(x) * tanh(y) by one division with the two functions in a wider type: prints the
 * largest error over COUNT pairs, and how many were out of (-1, 1) or not exact where they have to
 * be. Compiled with -DSOURCE="act.c" and a type WIDE that is exact beside the file's. */
#include SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <tgmath.h>

static real any(void)
{
    static uint64_t seed = 1;

    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (real)((double)(seed >> 11) / (double)(1ull << 53) * 40 - 20);
}

static real gated(real x, real y)
{
    real out[LANES];

    store(out, vgated(splat(x), splat(y)));
    return out[0];
}

/* A shut gate lets nothing through, an open one tanh alone; NaN comes through both. */
static int leaks(void)
{
    const real big = (real)1e30;
    int count = 0;

    for (int n = 0; n < 1000; n++) {
        const real y = any();

        count += gated(-big, y) != 0 || gated(-INFINITY, y) != 0;
        count += gated(big, big) != 1 || gated(big, -big) != -1;
        count += gated(0, big) != (real)0.5 || gated(0, -big) != (real)-0.5 || gated(y, 0) != 0;
        count += !isnan(gated(y, (real)NAN)) || !isnan(gated((real)NAN, y));
    }
    return count;
}

int main(int argc, char **argv)
{
    double worst = 0;
    int out = leaks();

    for (int n = argc > 1 ? atoi(argv[1]) : 0; n; n--) {
        const real x = any(), y = any(), given = gated(x, y);
        const WIDE error = fabs((WIDE)given - tanh((WIDE)y) / (1 + exp(-(WIDE)x)));

        worst = error > (WIDE)worst ? (double)error : worst;
        out += given > 1 || given < -1;
    }
    printf("%.4e %d\n", worst, out);
    return 0;
}
