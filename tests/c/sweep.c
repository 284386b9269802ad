/* Sweeps the activations of a generated file over many numbers and prints their largest errors.
 * Compiled with -DSOURCE="x.c", a type WIDE that is exact beside the file's, and the magnitudes HELD
 * and OPEN from which tanh and sigmoid are exact. `sweep FIRST LAST STRIDE` takes bit patterns of
 * float32, `sweep COUNT` so many float64 between -40 and 40. */
#include SOURCE

#include <stdio.h>
#include <stdlib.h>
#include <tgmath.h>

enum { MANY = 4096 };

static real x[MANY], tanh_x[MANY], sigmoid_x[MANY];

/* absolute error of tanh and sigmoid; relative error of tanh and, down to -80, of sigmoid */
static double worst[4];
static unsigned long long leaks; /* results that should be exactly -1 or 1, or lie within */

static double larger(double a, WIDE b) { return b > a ? (double)b : a; }

static void check(real a, real t, real s)
{
    const WIDE size = fabs((WIDE)a), e = exp(-size), m = expm1(-2 * size);
    const WIDE sigmoid = a >= 0 ? 1 / (1 + e) : e / (1 + e);
    const WIDE magnitude = -m / (2 + m), et = fabs(t - (a < 0 ? -magnitude : magnitude));
    const WIDE es = fabs(s - sigmoid);

    worst[0] = larger(worst[0], et);
    worst[1] = larger(worst[1], es);
    if (magnitude > 1e-30)
        worst[2] = larger(worst[2], et / magnitude);
    if (a >= -80)
        worst[3] = larger(worst[3], es / sigmoid);
    leaks += (size >= HELD && t != 1 && t != -1) || t > 1 || t < -1;
    leaks += (a >= OPEN && s != 1) || s > 1 || s < 0;
}

static void run(int n)
{
    for (int i = 0; i < n; i += LANES) {
        store(tanh_x + i, vtanh(load(x + i)));
        store(sigmoid_x + i, vsigmoid(load(x + i)));
    }
    for (int i = 0; i < n; i++)
        check(x[i], tanh_x[i], sigmoid_x[i]);
}

static void special(real a)
{
    for (int i = 0; i < LANES; i++)
        x[i] = a;
    store(tanh_x, vtanh(load(x)));
    store(sigmoid_x, vsigmoid(load(x)));
    printf("%g %g %g\n", (double)a, (double)tanh_x[0], (double)sigmoid_x[0]);
}

int main(int argc, char **argv)
{
    int n = 0;

    if (argc == 4) {
        const unsigned long long last = strtoull(argv[2], NULL, 0), stride = strtoull(argv[3], NULL, 0);

        for (unsigned long long u = strtoull(argv[1], NULL, 0); u <= last; u += stride) {
            const uint32_t bits32 = (uint32_t)u;
            float f;

            memcpy(&f, &bits32, sizeof f);
            x[n++] = f;
            if (n == MANY || u + stride > last) {
                run(n);
                n = 0;
            }
        }
    } else {
        const int count = atoi(argv[1]);

        for (int i = 0; i < count; i++) {
            x[n++] = (real)(80.0 * i / count - 40);
            if (n == MANY || i + 1 == count) {
                run(n);
                n = 0;
            }
        }
    }
    printf("%.4e %.4e %.4e %.4e %llu\n", worst[0], worst[1], worst[2], worst[3], leaks);
    special((real)NAN);
    special((real)INFINITY);
    special((real)-INFINITY);
    special((real)-1e30);
    special((real)0);
    return 0;
}
