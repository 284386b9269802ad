/* Counts sums of two products in which vfma fused another one than it was asked to, and those where
 * that makes a difference. Compiled with -DSOURCE="act.c", in float32, for a processor with FMA. */
#include SOURCE

#include <math.h>
#include <stdio.h>

static real any(void)
{
    static uint32_t seed = 1;

    seed = seed * 1103515245u + 12345u;
    return (real)(seed >> 8) / 65536 - 128;
}

static ACT_NOINLINE vec first_two(vec a, vec b, vec c, vec d) { return vfma(a, b, c * d); }
static ACT_NOINLINE vec last_two(vec a, vec b, vec c, vec d) { return vfma(c, d, a * b); }

int main(void)
{
    int wrong = 0, telling = 0;

    for (int n = 0; n < 10000; n++) {
        const real a = any(), b = any(), c = any(), d = any();
        const volatile real ab = a * b, cd = c * d; /* rounded */
        const vec first = first_two(splat(a), splat(b), splat(c), splat(d));
        const vec last = last_two(splat(a), splat(b), splat(c), splat(d));

        wrong += first[0] != fmaf(a, b, cd) || last[0] != fmaf(c, d, ab);
        telling += fmaf(a, b, cd) != fmaf(c, d, ab);
    }
    printf("%d %d\n", wrong, telling);
    return 0;
}
