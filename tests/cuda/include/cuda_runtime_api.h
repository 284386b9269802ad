/* Stands in for CUDA's header where there is no device: g++ compiles a generated .cu file as it is, and
 * its kernels run on the processor.
 *
 * Each thread of a block is a fiber; blocks run one after the other, unless they are launched together.
 * Fibers take turns in an order that SHIM_SEED shuffles, so that what lacks a barrier goes wrong.
 * Shared memory starts as NaN, and a write behind it, a barrier that some threads never reach or a
 * fiber that waits for ever makes the launch answer cudaErrorLaunchFailure. What it cannot show: memory
 * order, time, and whether a real device has room. */
#pragma once

#include "fibers.h"
#include "numbers.h"

#include <cfloat>
#include <cmath>

using std::fma;
using std::max;
using std::min;

#define SHIM_JOIN_(name, word) name##word
#define SHIM_JOIN(name, word) SHIM_JOIN_(name, word)
#define SHIM_OF(word) SHIM_JOIN(SHIM_NAME, word) /* a name of the network's own */

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
struct alignas(8) float2 {
    float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
struct alignas(8) uint2 {
    unsigned x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorLaunchOutOfResources = 701,
    cudaErrorCooperativeLaunchTooLarge = 720,
    cudaErrorNotSupported = 801,
    cudaErrorInvalidClusterSize = 912,
    cudaErrorLaunchFailure = 719,
};
enum cudaMemcpyKind { cudaMemcpyDeviceToDevice = 3 };
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributeNonPortableClusterSizeAllowed = 14
};
typedef struct CUstream_st *cudaStream_t;
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrCooperativeLaunch = 95,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrClusterLaunch = 120
};
enum cudaLaunchAttributeID {
    cudaLaunchAttributeCooperative = 2,
    cudaLaunchAttributeClusterDimension = 4
};
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        struct {
            unsigned x, y, z;
        } clusterDim;
        int cooperative;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

#ifdef SHIM_NUMBER /* of 16 bits */
typedef uint4 shim_quad;
#else
typedef float4 shim_quad;
#endif

/* Shared memory of a block that is in no cluster; the last of it is to stay as it is. */
constexpr size_t shim_shared_bytes = (227 + 4) * 1024;
alignas(128) shim_quad SHIM_OF(_shared)[shim_shared_bytes / sizeof(float4)];

/* How often the network asked what the device has room for, or asked for more room than usual. */
extern "C" {
int shim_asked = 0;
}

namespace {
namespace shim {

constexpr size_t granted = 48 * 1024;

/* Bytes of shared memory that a block may be granted: SHIM_SHARED, 227 KB unless it is set. */
inline size_t most_shared()
{
    const char *most = getenv("SHIM_SHARED");

    return most ? (size_t)atoi(most) : 227 * 1024;
}

inline unsigned char *memory_of(unsigned rank)
{
    static std::vector<std::unique_ptr<float4[]>> more;

    if (!rank)
        return reinterpret_cast<unsigned char *>(SHIM_OF(_shared));
    while (more.size() < rank)
        more.emplace_back(new float4[shim_shared_bytes / sizeof(float4)]);
    return reinterpret_cast<unsigned char *>(more[rank - 1].get());
}

/* So many blocks at once, from the first on. */
inline bool run_blocks(unsigned first, unsigned count, size_t shared_bytes)
{
    Machine &m = machine;
    const dim3 &grid = m.grid;

    m.error = nullptr;
    m.messages.clear();
    m.blocks.resize(count);
    for (unsigned r = 0; r < count; r++) {
        Block &b = m.blocks[r];
        b.index = dim3((first + r) % grid.x, (first + r) / grid.x % grid.y, (first + r) / grid.x / grid.y);
        b.place = r;
        b.rank = r % m.cluster;
        b.at_cluster = 0;
        b.memory = memory_of(r);
        b.warps.resize((m.threads + 31) / 32);
        for (Warp &w : b.warps)
            w.waiting = 0;
        b.finished = b.waiting = 0;
        b.gathered = 0;
        memset(b.memory, 0xff, shared_bytes);
        memset(b.memory + shared_bytes, 0xfe, shim_shared_bytes - shared_bytes);
        for (unsigned n = 0; n < m.threads; n++)
            begin(m.fibers[r * m.threads + n], b, n);
    }
    run_threads();
    for (const Block &b : m.blocks)
        for (size_t n = shared_bytes; n < shim_shared_bytes && !m.error; n++)
            if (b.memory[n] != 0xfe)
                m.error = "a write behind shared memory";
    if (m.error)
        fprintf(stderr, "shim: %s, block %u\n", m.error, first);
    return !m.error;
}

/* Kernels that were granted more than others: shared memory, clusters of more than 8 blocks. */
struct Grant {
    const void *kernel;
    cudaFuncAttribute what;
    size_t value;
};
std::vector<Grant> grants;

inline size_t allowed(const void *kernel, cudaFuncAttribute what)
{
    size_t most = what == cudaFuncAttributeMaxDynamicSharedMemorySize ? granted : 0;

    for (const Grant &g : grants)
        if (g.kernel == kernel && g.what == what)
            most = std::max(g.value, most);
    return most;
}

/* Blocks of the largest cluster that there is room for: SHIM_CLUSTER, 16 unless it is set. */
inline unsigned room()
{
    const char *most = getenv("SHIM_CLUSTER");

    return most ? (unsigned)atoi(most) : 16;
}

inline bool has_room(const void *kernel, unsigned blocks)
{
    const bool may = blocks <= 8 || allowed(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed);

    return blocks == 1 || (blocks <= room() && may);
}

/* Multiprocessors: SHIM_PROCESSORS, else few, so that sequences soon have to take turns. */
inline unsigned processors()
{
    const char *all = getenv("SHIM_PROCESSORS");

    return all ? (unsigned)atoi(all) : 24;
}

/* What is asked for beside the kernel, if it is. */
inline const cudaLaunchAttribute *asked(const cudaLaunchConfig_t &c, cudaLaunchAttributeID id)
{
    for (unsigned n = 0; n < c.numAttrs; n++)
        if (c.attrs[n].id == id)
            return c.attrs + n;
    return nullptr;
}

/* Blocks of a cluster, or 1. */
inline unsigned cluster(const cudaLaunchConfig_t &c)
{
    const auto *const wanted = asked(c, cudaLaunchAttributeClusterDimension);

    return wanted ? wanted->val.clusterDim.x : 1;
}

/* Blocks that run at once: those of a cluster, or all of a grid that is launched together. */
inline unsigned at_once(const cudaLaunchConfig_t &c)
{
    const bool together = asked(c, cudaLaunchAttributeCooperative);

    return together ? c.gridDim.x * c.gridDim.y * c.gridDim.z : cluster(c);
}

inline cudaError_t run_grid(const cudaLaunchConfig_t &c, void (*body)(void *), void *argument)
{
    Machine &m = machine;
    const unsigned count = at_once(c), all = c.gridDim.x * c.gridDim.y * c.gridDim.z;
    const char *seed = getenv("SHIM_SEED");

    m.grid = c.gridDim;
    m.size = c.blockDim;
    m.threads = m.size.x * m.size.y * m.size.z;
    m.cluster = cluster(c);
    m.body = body;
    m.argument = argument;
    m.dice = seed ? strtoull(seed, nullptr, 10) : 1;
    if (!m.threads || m.threads > 1024 || !m.grid.x || !m.grid.y || !m.grid.z || m.grid.y > 65535
        || m.grid.z > 65535 || all % count || m.grid.x % m.cluster)
        return cudaErrorInvalidConfiguration;
    if (m.fibers.size() < m.threads * count)
        m.fibers = std::vector<Fiber>(m.threads * count);
    for (unsigned first = 0; first < all; first += count)
        if (!run_blocks(first, count, c.dynamicSmemBytes))
            return cudaErrorLaunchFailure;
    if (count > 16)
        m.fibers.clear(); /* a grid's are many */
    return cudaSuccess;
}

/* The rounded result, so many units in the last place up or down as the bits of x fall. */
inline float off(double exact, int units, float x)
{
    unsigned bits;
    float near = (float)exact;

    memcpy(&bits, &x, sizeof bits);
    for (; units && fabsf(near) >= FLT_MIN; units--)
        near = nextafterf(near, bits * 2654435761u >> 31 ? INFINITY : -INFINITY);
    return fabsf(near) < FLT_MIN ? 0 : near;
}

} // namespace shim
} // namespace

#define threadIdx (shim::machine.now->thread)
#define blockIdx (shim::here().index)
[[maybe_unused]] static const dim3 &gridDim = shim::machine.grid; /* no macro: a launch has one too */

inline void __syncwarp() { shim::shuffle(0, 0); }
inline void __syncthreads() { shim::barrier(0, 0); }
inline int __syncthreads_or(int value) { return shim::barrier(1, value); }
template <class T> T __shfl_xor_sync(unsigned, T value, int mask)
{
    return shim::shuffle(value, (threadIdx.x & 31u) ^ (unsigned)mask);
}
template <class T> T __shfl_sync(unsigned, T value, int source)
{
    return shim::shuffle(value, (unsigned)source & 31u);
}
inline unsigned __float_as_uint(float x)
{
    unsigned bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

template <class... Wanted, class... Given>
cudaError_t cudaLaunchKernelEx(
    const cudaLaunchConfig_t *config, void (*kernel)(Wanted...), Given &&...given)
{
    const void *const at = reinterpret_cast<const void *>(kernel);

    if (config->dynamicSmemBytes > shim::allowed(at, cudaFuncAttributeMaxDynamicSharedMemorySize))
        return cudaErrorInvalidValue;
    if (!shim::has_room(at, shim::cluster(*config)))
        return cudaErrorInvalidClusterSize;
    if (shim::asked(*config, cudaLaunchAttributeCooperative)
        && shim::at_once(*config) > shim::processors())
        return cudaErrorCooperativeLaunchTooLarge;
    auto call = [&] { kernel(given...); };
    const auto body = [](void *argument) { (*static_cast<decltype(call) *>(argument))(); };
    return shim::run_grid(*config, body, &call);
}

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel *kernel, cudaFuncAttribute what, int value)
{
    shim_asked++;
    if (value < 0 || (size_t)value > shim::most_shared())
        return cudaErrorInvalidValue;
    shim::grants.push_back({reinterpret_cast<const void *>(kernel), what, (size_t)value});
    return cudaSuccess;
}

template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(
    int *blocks, Kernel *, int threads, size_t bytes)
{
    shim_asked++;
    *blocks = threads <= 1024 && bytes <= shim::most_shared();
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

inline cudaError_t cudaGetDevice(int *device)
{
    shim_asked++;
    *device = 0;
    return cudaSuccess;
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }

inline const char *cudaGetErrorString(cudaError_t) { return "an error"; }

inline cudaError_t cudaMalloc(void **to, size_t bytes)
{
    *to = malloc(bytes);
    return cudaSuccess;
}

inline cudaError_t cudaFree(void *memory)
{
    free(memory);
    return cudaSuccess;
}

inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }

inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int)
{
    shim_asked++;
    *value = (int)shim::most_shared();
    if (attribute == cudaDevAttrClusterLaunch)
        *value = shim::room() > 0;
    if (attribute == cudaDevAttrCooperativeLaunch)
        *value = 1;
    if (attribute == cudaDevAttrMultiProcessorCount)
        *value = (int)shim::processors();
    return cudaSuccess;
}

template <class Kernel>
cudaError_t cudaOccupancyMaxActiveClusters(
    int *clusters, Kernel *kernel, const cudaLaunchConfig_t *c)
{
    const void *const at = reinterpret_cast<const void *>(kernel);

    const unsigned blocks = shim::cluster(*c);

    shim_asked++;
    *clusters = c->dynamicSmemBytes <= shim::most_shared();
    *clusters *= (int)std::max(1u, shim::processors() / blocks);
    return shim::has_room(at, blocks) ? cudaSuccess : cudaErrorInvalidClusterSize;
}

/* Instructions that approximate: here always as wrong as their documentation allows, in a direction
 * that depends on x alone; 2^0 is exact. */
inline float SHIM_OF(_exp2)(float x) { return x == 0 ? 1 : shim::off(exp2(x), 2, x); }
inline float SHIM_OF(_reciprocal)(float x) { return shim::off(1 / (double)x, 1, x); }

#ifdef SHIM_NUMBER
/* What tensor cores do, mma.m16n8k16 of PTX: where a lane's numbers lie in the matrices. */
inline void SHIM_OF(_tensor)(
    float (&sum)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1)
{
    struct alignas(16) Lane {
        SHIM_NUMBER a[4][2], b[2][2]; /* two columns each: of rows lane / 4 and + 8, then + 8 columns */
    } mine;
    const unsigned lane = threadIdx.x % 32, words[6] = {a0, a1, a2, a3, b0, b1};

    memcpy(static_cast<void *>(&mine), words, sizeof words);
    const Lane *all = shim::gather(mine);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 16; k++) {
            const unsigned holder = k % 8 / 2, further = k / 8; /* of column k */
            const Lane &row = all[lane / 4 * 4 + holder];
            const Lane &column = all[(lane % 4 * 2 + i % 2) * 4 + holder];
            sum[i] += (float)row.a[i / 2 + 2 * further][k % 2] * (float)column.b[further][k % 2];
        }
}
#endif

/* What a cluster's kernel is written in; under nvcc the .cu file has it in PTX. */
inline shim_quad *SHIM_OF(_memory)() { return reinterpret_cast<shim_quad *>(shim::here().memory); }
inline int SHIM_OF(_rank)() { return (int)shim::here().rank; }
inline void SHIM_OF(_cluster_sync)() { shim::cluster_barrier(); }
inline void SHIM_OF(_barrier_init)(uint64_t *barrier)
{
    const shim::Mbarrier fresh = {0, 1, 0};

    memcpy(static_cast<void *>(barrier), &fresh, sizeof fresh);
}
inline void SHIM_OF(_barrier_expect)(uint64_t *barrier, int bytes)
{
    auto &m = *reinterpret_cast<shim::Mbarrier *>(barrier);

    m.bytes += bytes;
    m.pending = (short)(m.pending - 1);
    shim::settle(m);
}
inline void SHIM_OF(_barrier_wait)(uint64_t *barrier, int parity)
{
    shim::Fiber &self = *shim::machine.now;

    self.barrier = reinterpret_cast<const shim::Mbarrier *>(barrier);
    self.parity = (unsigned)parity;
    if ((self.barrier->phase & 1) == self.parity)
        shim::wait(shim::State::at_message);
}
inline void SHIM_OF(_send)(shim_quad *to, shim_quad value, uint64_t *barrier, int rank)
{
    const auto *own = shim::here().memory;
    shim::Message message = {};

    message.to = &shim::here() - shim::here().rank + rank;
    message.place = (size_t)(reinterpret_cast<unsigned char *>(to) - own);
    message.barrier = (size_t)(reinterpret_cast<unsigned char *>(barrier) - own);
    memcpy(message.bytes, &value, sizeof message.bytes);
    shim::machine.messages.push_back(message);
}
inline void SHIM_OF(_send_packet)(uint64_t *to, unsigned value, unsigned number)
{
    shim::Message message = {};

    message.memory = to;
    message.packet = (uint64_t)number << 32 | value;
    shim::machine.messages.push_back(message);
}
inline uint64_t SHIM_OF(_look)(const uint64_t *from) { return *from; }
inline uint64_t SHIM_OF(_await)(const uint64_t *from, unsigned number)
{
    shim::Fiber &self = *shim::machine.now;

    self.packet = from;
    self.number = number;
    while (*from >> 32 != number) /* it may be gone when the thread's turn comes */
        shim::wait(shim::State::at_packet);
    return *from;
}
template <int PAIRS>
void SHIM_OF(_receive)(const uint64_t *const (&from)[PAIRS], unsigned number, uint2 (&pair)[PAIRS])
{
    unsigned all[2 * PAIRS];

    for (int n = 0; n < 2 * PAIRS; n++)
        all[n] = (unsigned)SHIM_OF(_await)(from[n / 2] + n % 2, number);
    memcpy(&pair, &all, sizeof all);
}
/* A fetch reads its bytes at once or when it is waited for; until then NaN is where they go. */
inline void SHIM_OF(_fetch)(void *to, const void *from, int bytes)
{
    shim::Fetch fetch = {static_cast<unsigned char *>(to), nullptr, (size_t)bytes, {}};
    const bool later = shim::roll() & 1;

    if ((uintptr_t)to % 16 || (uintptr_t)from % 16)
        shim::machine.error = "a fetch that is not aligned";
    if (later)
        fetch.from = static_cast<const unsigned char *>(from);
    else
        memcpy(fetch.bytes, from, fetch.count);
    memset(to, 0xff, sizeof fetch.bytes);
    shim::machine.now->fetches.push_back(fetch);
}
inline void SHIM_OF(_fetched)()
{
    auto &fetches = shim::machine.now->fetches;

    for (shim::Fetch &fetch : fetches) {
        if (fetch.from)
            memcpy(fetch.bytes, fetch.from, fetch.count);
        memcpy(fetch.to, fetch.bytes, sizeof fetch.bytes);
    }
    fetches.clear();
}
inline void SHIM_OF(_arrive)(unsigned *counter)
{
    shim::Message message = {};

    message.counter = counter;
    shim::machine.messages.push_back(message);
}
inline void SHIM_OF(_await_all)(const unsigned *counter, unsigned blocks)
{
    shim::Fiber &self = *shim::machine.now;

    self.counter = counter;
    self.least = blocks;
    if (*counter < blocks)
        shim::wait(shim::State::at_counter);
}
