/* Runs a network from memory that has exactly the size it needs, so that sanitizers see what goes
 * beyond: padded, with lengths, and packed. Prints nothing and returns 0 if all answers are numbers.
 *
 * Compiled with NET, its name; HAS_C where it is an LSTM; PARAMS, the sizes of its parameters. */
#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define OF_NET(suffix) CAT(NET, suffix)

using Real = std::remove_cv_t<std::remove_pointer_t<decltype(OF_NET(_batch)::x)>>;

static std::vector<std::unique_ptr<Real[]>> memory;

static Real *numbers(size_t count, bool nan)
{
    memory.emplace_back(new Real[count]);
    for (size_t n = 0; n < count; n++)
        memory.back()[n] = (Real)(nan ? NAN : std::sin((float)n * 1.7f + 1) / 3);
    return memory.back().get();
}

static bool finite(const Real *values, size_t count)
{
    for (size_t n = 0; n < count; n++)
        if (!std::isfinite((float)values[n]))
            return false;
    return true;
}

/* One call; lengths as many as sequences, or none. */
static int run(
    const OF_NET(_device) &device, const OF_NET(_weights) &weights, size_t T, std::vector<int> lengths,
    bool packed, size_t B)
{
    const size_t passes = NUM_LAYERS * NUM_DIRECTIONS;
    const size_t bytes = OF_NET(_workspace)(T, B);
    std::vector<int> starts;
    size_t rows = packed ? 0 : T * B;
    for (size_t t = 0; packed && t < T; t++) {
        starts.push_back((int)rows);
        for (int length : lengths)
            rows += (size_t)length > t;
    }
    OF_NET(_batch) batch = {};
    batch.T = T;
    batch.B = B;
    batch.x = numbers(rows * INPUT_SIZE, false);
    batch.y = numbers(rows * OUTPUT_SIZE, true);
    batch.h_0 = numbers(passes * B * STATE_SIZE, false);
    batch.h_n = numbers(passes * B * STATE_SIZE, true);
#ifdef HAS_C
    batch.c_0 = numbers(passes * B * HIDDEN_SIZE, false);
    batch.c_n = numbers(passes * B * HIDDEN_SIZE, true);
#endif
    batch.lengths = lengths.empty() ? nullptr : lengths.data();
    batch.starts = packed ? starts.data() : nullptr;
    Real *const scratch = numbers(bytes / sizeof(Real), true);
    if (OF_NET(_forward)(&device, &weights, &batch, scratch, bytes, nullptr))
        return 2;
    return finite(batch.y, rows * OUTPUT_SIZE) && finite(batch.h_n, passes * B * STATE_SIZE) ? 0 : 3;
}

int main()
{
    const size_t sizes[] = {PARAMS};
    const Real *pointers[sizeof sizes / sizeof *sizes];
    OF_NET(_weights) weights;
    OF_NET(_device) device;

    for (size_t n = 0; n < sizeof sizes / sizeof *sizes; n++)
        pointers[n] = numbers(sizes[n], false);
    static_assert(sizeof pointers == sizeof weights);
    memcpy(&weights, pointers, sizeof weights);
    int code = OF_NET(_init)(&device);
    for (size_t B : {1, 9})
        code = code ? code : run(device, weights, 5, {}, false, B);
    code = code ? code : run(device, weights, 7, {7, 3, 1}, false, 3);
    code = code ? code : run(device, weights, 7, {7, 3, 1}, true, 3);
    if (code)
        fprintf(stderr, "code %d\n", code);
    return code;
}
