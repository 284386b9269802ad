/* Stands in for CUDA's header where there is no device: g++ compiles a generated .cu file as it is, and
 * its kernels run on the processor.
 *
 * Each thread of a block is a fiber; blocks run one after the other. Fibers take turns in an order that
 * SHIM_SEED shuffles, so that what lacks a barrier goes wrong. Shared memory starts as NaN, and a
 * write behind it, a barrier that some threads never reach or a fiber that waits for ever makes the
 * launch answer cudaErrorLaunchFailure. What it cannot show: memory order, time, and whether a real
 * device has room. */
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#if !defined __x86_64__ || defined __SANITIZE_ADDRESS__
#define SHIM_UCONTEXT /* portable, and known to the sanitizer; it makes two system calls a switch */
#include <ucontext.h>
#endif

#define __global__
#define __device__
#define __shared__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)

struct alignas(16) float4 {
    float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorLaunchOutOfResources = 701,
    cudaErrorLaunchFailure = 719,
};
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
typedef struct CUstream_st *cudaStream_t;
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
};

/* SHIM_SHARED is what the .cu file calls its shared memory. */
constexpr size_t shim_shared_bytes = (227 + 4) * 1024; /* the last of them are to stay as they are */
alignas(128) float4 SHIM_SHARED[shim_shared_bytes / sizeof(float4)];

namespace shim {

constexpr size_t most_shared = 227 * 1024, granted = 48 * 1024;

enum class State { ready, at_barrier, at_shuffle, done };

struct Fiber {
#ifdef SHIM_UCONTEXT
    static constexpr size_t stack_bytes = 256 * 1024;
    ucontext_t context;
#else
    static constexpr size_t stack_bytes = 64 * 1024;
    void *context;
#endif
    std::unique_ptr<char[]> stack{new char[stack_bytes]};
    dim3 thread;
    State state;
};

struct Warp {
    uint64_t in[32], out[32];
    unsigned waiting;
};

/* The block that is running. */
struct Block {
    dim3 grid, size, index;
    std::vector<Fiber> fibers; /* kept from block to block, as their stacks are */
    std::vector<Warp> warps;
    Fiber *now;
    unsigned threads, finished, waiting;
    int kind, gathered, answer; /* of the barrier that threads wait at */
    const char *error;
    void (*body)(void *);
    void *argument;
    uint64_t dice;
#ifdef SHIM_UCONTEXT
    ucontext_t scheduler;
#else
    void *scheduler;
#endif
};
inline Block block;

#ifdef SHIM_UCONTEXT
inline void enter(Fiber &f) { swapcontext(&block.scheduler, &f.context); }
inline void leave(Fiber &f) { swapcontext(&f.context, &block.scheduler); }
#else
extern "C" __attribute__((visibility("hidden"))) void shim_switch(void **from, void *to);
__asm__(".text\n"
        "shim_switch:\n"
        "\tpushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n"
        "\tmovq %rsp, (%rdi)\n"
        "\tmovq %rsi, %rsp\n"
        "\tpopq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n"
        "\tret\n");
inline void enter(Fiber &f) { shim_switch(&block.scheduler, f.context); }
inline void leave(Fiber &f) { shim_switch(&f.context, block.scheduler); }
#endif

inline unsigned number(const Fiber &f) { return (unsigned)(&f - block.fibers.data()); }

/* All that wait in a state go on; a warp's own fibers, or all of them. */
inline void release(State state, size_t first, size_t end)
{
    for (size_t n = first; n < std::min<size_t>(end, block.threads); n++)
        if (block.fibers[n].state == state)
            block.fibers[n].state = State::ready;
}

inline void wait(State state)
{
    block.now->state = state;
    leave(*block.now);
}

/* __syncthreads and __syncthreads_or, which must not meet. */
inline int barrier(int kind, int value)
{
    Block &b = block;

    if (b.waiting && b.kind != kind)
        b.error = "two kinds of barrier at once";
    b.kind = kind;
    b.gathered |= value;
    if (++b.waiting < b.threads) {
        wait(State::at_barrier);
    } else {
        b.answer = b.gathered;
        b.gathered = 0;
        b.waiting = 0;
        release(State::at_barrier, 0, b.threads);
    }
    return b.answer;
}

/* Every lane of the warp that has not returned hands in a value, and gets that of another lane. */
template <class T> T shuffle(T value, unsigned source)
{
    static_assert(sizeof(T) <= sizeof(uint64_t));
    const unsigned self = number(*block.now), first = self & ~31u;
    Warp &w = block.warps[self / 32];
    unsigned lanes = 0;

    for (unsigned n = first; n < std::min(first + 32, block.threads); n++)
        lanes += block.fibers[n].state != State::done;
    memcpy(&w.in[self - first], &value, sizeof value);
    if (++w.waiting < lanes) {
        wait(State::at_shuffle);
    } else {
        memcpy(w.out, w.in, sizeof w.in);
        w.waiting = 0;
        release(State::at_shuffle, first, first + 32);
    }
    if (first + source < block.threads)
        memcpy(&value, &w.out[source], sizeof value);
    return value;
}

[[noreturn]] inline void run_fiber()
{
    block.body(block.argument);
    block.finished++;
    block.now->state = State::done;
    leave(*block.now);
    abort();
}

inline void begin(Fiber &f, unsigned n)
{
    const dim3 &size = block.size;

    f.thread = dim3(n % size.x, n / size.x % size.y, n / size.x / size.y);
    f.state = State::ready;
#ifdef SHIM_UCONTEXT
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = f.stack.get();
    f.context.uc_stack.ss_size = Fiber::stack_bytes;
    f.context.uc_link = nullptr;
    makecontext(&f.context, run_fiber, 0);
#else
    /* As if it had called shim_switch: six registers, then where to go; aligned as after a call. */
    uintptr_t top = ((uintptr_t)f.stack.get() + Fiber::stack_bytes) & ~(uintptr_t)15;
    void **words = (void **)top - 8;
    std::fill(words, words + 8, nullptr);
    words[6] = (void *)run_fiber;
    f.context = words;
#endif
}

inline unsigned roll()
{
    block.dice = block.dice * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(block.dice >> 33);
}

/* All threads of the block, in turns, until they are done or none can go on. */
inline bool run_block(size_t shared_bytes)
{
    Block &b = block;

    b.finished = b.waiting = 0;
    b.gathered = 0;
    b.error = nullptr;
    memset(static_cast<void *>(SHIM_SHARED), 0xff, sizeof SHIM_SHARED);
    for (unsigned n = 0; n < b.threads; n++)
        begin(b.fibers[n], n);
    for (Warp &w : b.warps)
        w.waiting = 0;
    while (b.finished < b.threads && !b.error) {
        const unsigned start = roll() % b.threads, flip = roll() & 31;
        const unsigned awake = roll(); /* warps: the others stay behind, so that they drift apart */
        bool moved = false;
        for (unsigned n = 0; n < b.threads; n++) {
            unsigned at = (n + start) % b.threads;
            at = (at ^ flip) < b.threads ? at ^ flip : at;
            if (b.fibers[at].state != State::ready)
                continue;
            moved = true;
            if (awake >> (at / 32 % 16) & 1) {
                b.now = &b.fibers[at];
                enter(*b.now);
            }
        }
        if (b.waiting && b.finished)
            b.error = "a barrier that some threads never reach";
        else if (!moved && b.finished < b.threads)
            b.error = "threads that wait for ever";
    }
    const auto *memory = reinterpret_cast<const unsigned char *>(SHIM_SHARED);
    for (size_t n = shared_bytes; n < sizeof SHIM_SHARED && !b.error; n++)
        if (memory[n] != 0xff)
            b.error = "a write behind shared memory";
    if (b.error)
        fprintf(stderr, "shim: %s, block %u %u %u\n", b.error, b.index.x, b.index.y, b.index.z);
    return !b.error;
}

/* Kernels that were granted more shared memory than others. */
struct Grant {
    const void *kernel;
    size_t bytes;
};
inline std::vector<Grant> grants;

inline size_t allowed(const void *kernel)
{
    for (const Grant &g : grants)
        if (g.kernel == kernel)
            return std::max(g.bytes, granted);
    return granted;
}

inline cudaError_t run_grid(const cudaLaunchConfig_t &c, void (*body)(void *), void *argument)
{
    Block &b = block;
    const char *seed = getenv("SHIM_SEED");

    b.grid = c.gridDim;
    b.size = c.blockDim;
    b.threads = b.size.x * b.size.y * b.size.z;
    b.body = body;
    b.argument = argument;
    b.dice = seed ? strtoull(seed, nullptr, 10) : 1;
    if (!b.threads || b.threads > 1024 || !b.grid.x || !b.grid.y || !b.grid.z || b.grid.y > 65535
        || b.grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (b.fibers.size() < b.threads)
        b.fibers = std::vector<Fiber>(b.threads);
    b.warps.resize((b.threads + 31) / 32);
    for (unsigned z = 0; z < b.grid.z; z++)
        for (unsigned y = 0; y < b.grid.y; y++)
            for (unsigned x = 0; x < b.grid.x; x++) {
                b.index = dim3(x, y, z);
                if (!run_block(c.dynamicSmemBytes))
                    return cudaErrorLaunchFailure;
            }
    return cudaSuccess;
}

} // namespace shim

#define threadIdx (shim::block.now->thread)
#define blockIdx (shim::block.index)

inline void __syncthreads() { shim::barrier(0, 0); }
inline int __syncthreads_or(int value) { return shim::barrier(1, value); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask)
{
    return shim::shuffle(value, (threadIdx.x & 31u) ^ (unsigned)mask);
}
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float a, float b) { return a / b; }

template <class... Wanted, class... Given>
cudaError_t cudaLaunchKernelEx(
    const cudaLaunchConfig_t *config, void (*kernel)(Wanted...), Given &&...given)
{
    if (config->dynamicSmemBytes > shim::allowed(reinterpret_cast<const void *>(kernel)))
        return cudaErrorInvalidValue;
    auto call = [&] { kernel(given...); };
    const auto body = [](void *argument) { (*static_cast<decltype(call) *>(argument))(); };
    return shim::run_grid(*config, body, &call);
}

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute, int bytes)
{
    if (bytes < 0 || (size_t)bytes > shim::most_shared)
        return cudaErrorInvalidValue;
    shim::grants.push_back({reinterpret_cast<const void *>(kernel), (size_t)bytes});
    return cudaSuccess;
}

template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(
    int *blocks, Kernel *, int threads, size_t bytes)
{
    *blocks = threads <= 1024 && bytes <= shim::most_shared;
    return cudaSuccess;
}

inline cudaError_t cudaMemcpyAsync(
    void *to, const void *from, size_t bytes, cudaMemcpyKind, cudaStream_t)
{
    memcpy(to, from, bytes);
    return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t)
{
    memset(to, value, bytes);
    return cudaSuccess;
}
