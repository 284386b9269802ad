/* What micro.py compiles and runs: it prints lines "name value", medians of RUNS launches. */
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

constexpr int STEPS = 2000, RUNS = 15;
__device__ uint64_t packets[64 * 512]; /* zero at first */
__device__ float numbers[64 * 512];
__device__ long long taken;
extern __shared__ float4 room[]; /* sixteen bytes to write to, an mbarrier, what is read */

struct State {
    float w[64], x[16]; /* registers */
    uint64_t ahead;
};

__device__ unsigned address(const void *p) { return (unsigned)__cvta_generic_to_shared(p); }

__device__ void send(uint64_t *to, uint64_t packet)
{
    asm volatile("st.relaxed.gpu.global.b64 [%0], %1;" ::"l"(to), "l"(packet) : "memory");
}

__device__ uint64_t look(const uint64_t *from)
{
    uint64_t packet;
    asm volatile("ld.relaxed.gpu.global.b64 %0, [%1];" : "=l"(packet) : "l"(from) : "memory");
    return packet;
}

/* A packet that is waited for although it is there. */
__device__ void look_again(State &s, uint64_t) { s.ahead = look(packets + s.ahead); }

/* Packets from the first block to the last, and back. */
__device__ void packet_trip(State &, uint64_t n)
{
    if (threadIdx.x || (blockIdx.x && blockIdx.x + 1 != gridDim.x))
        return;
    if (blockIdx.x == 0)
        send(packets, n);
    while (look(packets + (blockIdx.x ? 0 : 32)) != n);
    if (blockIdx.x)
        send(packets + 32, n);
}

/* A packet of every block to every block, into shared memory, and a barrier. */
__device__ void exchange(State &, uint64_t n)
{
    uint64_t *const place = packets + n % 2 * 256; /* two by turns, as of h */
    if (threadIdx.x == 0)
        send(place + blockIdx.x, n);
    if (threadIdx.x < gridDim.x) {
        while (look(place + threadIdx.x) != n);
        reinterpret_cast<volatile float *>(room)[threadIdx.x] = 0;
    }
    __syncthreads();
}

/* Numbers of all threads, a barrier, and one more block at a counter, for which nobody waits. */
__device__ void tell(State &s, uint64_t)
{
    numbers[blockIdx.x * blockDim.x + threadIdx.x] = s.w[0];
    __syncthreads();
    if (threadIdx.x == 0)
        asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(packets) : "memory");
}

/* The same, and every thread waits for all blocks. */
__device__ void told(State &s, uint64_t n)
{
    unsigned arrived;
    tell(s, n);
    do
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(packets) : "memory");
    while (arrived < n * gridDim.x);
}

/* Sixteen bytes a thread, so many times, from L2 into shared memory, and a barrier. */
template <int TIMES> __device__ void fetch(State &, uint64_t)
{
#pragma unroll
    for (int i = 0; i < TIMES; i++)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                     ::"r"(address(room + 2 + i % 8 * 256 + threadIdx.x)),
                     "l"(numbers + (i * 256 + threadIdx.x) * 4) : "memory");
    asm volatile("cp.async.wait_all;" ::: "memory");
    __syncthreads();
}

__device__ void barrier(State &, uint64_t) { __syncthreads(); }

/* Before a barrier a packet, asked for one step earlier, and one that is sent. */
__device__ void following(State &s, uint64_t n)
{
    uint64_t *const own = packets + n % 32 * 512 + threadIdx.x;
    while (s.ahead)
        s.ahead = look(own);
    s.ahead = look(own);
    send(own + 32 * 512, n);
    __syncthreads();
}

__device__ void cluster_barrier(State &, uint64_t)
{
    asm volatile("barrier.cluster.arrive.release;\n\tbarrier.cluster.wait.acquire;" ::: "memory");
}

/* Sixteen bytes by st.async and mbarrier, from a cluster's first block to its last, and back. */
__device__ void async_trip(State &, uint64_t n)
{
    const unsigned other = blockIdx.x ? 0 : gridDim.x - 1, mine = address(room + 1);
    if (threadIdx.x || (blockIdx.x && blockIdx.x + 1 != gridDim.x))
        return;
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], 16;" ::"r"(mine) : "memory");
    for (unsigned turn = 0; turn < 2; turn++)
        if (turn == (blockIdx.x != 0))
            asm volatile("{ .reg .b32 place, counter; mapa.shared::cluster.u32 place, %0, %2;\n\t"
                         "mapa.shared::cluster.u32 counter, %1, %2;\n\t"
                         "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 "
                         "[place], { %2, %2, %2, %2 }, [counter]; }"
                         ::"r"(address(room)), "r"(mine), "r"(other) : "memory");
        else
            asm volatile("{ .reg .pred over;\nagain:\n\tmbarrier.try_wait.parity.acquire.cluster"
                         ".shared::cta.b64 over, [%0], %1;\n\t@!over bra again; }"
                         ::"r"(mine), "r"((unsigned)(n - 1) % 2) : "memory");
}

/* 64 a thread, weights in registers. */
__device__ void multiply_add(State &s, uint64_t n)
{
#pragma unroll
    for (int i = 0; i < 64; i++)
        s.x[i % 8] = fmaf(s.w[i], (float)n, s.x[i % 8]);
}

/* Sixteen bytes a lane, 32 times: SPREAD 0, all lanes the same; 1, each its own. */
template <int SPREAD> __device__ void shared_read(State &s, uint64_t)
{
    float4 v;
#pragma unroll
    for (int i = 0; i < 32; i++) {
        asm volatile("ld.shared.v4.f32 { %0, %1, %2, %3 }, [%4];"
                     : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                     : "r"(address(room + threadIdx.x % 32 * SPREAD + i)));
        s.x[i % 8] = fmaf(v.x, v.y, fmaf(v.z, v.w, s.x[i % 8])); /* half the time of the read */
    }
}

/* Products of 16 x 8 x 16 by tensor cores, CHAINS of which do not wait for each other. */
template <int CHAINS> __device__ void tensor(State &s, uint64_t)
{
#pragma unroll
    for (int i = 0; i < 4 * CHAINS; i += 4)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                     "{ %0, %1, %2, %3 }, { %4, %4, %4, %4 }, { %4, %4 }, { %0, %1, %2, %3 };"
                     : "+f"(s.x[i]), "+f"(s.x[i + 1]), "+f"(s.x[i + 2]), "+f"(s.x[i + 3])
                     : "r"(__float_as_uint(s.w[0])));
}

template <void STEP(State &, uint64_t)> __global__ void __launch_bounds__(512, 1) timed()
{
    State s = {};
    for (int i = 0; i < 64; i++)
        s.w[i] = numbers[i * 512 + threadIdx.x];
    if (threadIdx.x == 0)
        asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n\t"
                     "fence.mbarrier_init.release.cluster;" ::"r"(address(room + 1)) : "memory");
    cluster_barrier(s, 0);
    const long long begin = clock64();
#pragma unroll 1
    for (unsigned n = 1; n <= STEPS; n++)
        STEP(s, n);
    __syncthreads();
    if (threadIdx.x == 0 && blockIdx.x == 0)
        taken = clock64() - begin;
    cluster_barrier(s, 0);       /* nobody goes while another block writes to it */
    for (int i = 0; i < 16; i++) /* so that nothing is left out */
        numbers[threadIdx.x] += s.x[i] + (float)s.ahead;
}

__global__ void clear() { packets[blockIdx.x * 512 + threadIdx.x] = 0; }

static void check(cudaError_t error)
{
    if (error)
        std::exit((std::fprintf(stderr, "%s\n", cudaGetErrorString(error)), 1));
}

/* Cycles of a step in blocks that are there at once, one to a multiprocessor. Of those of a cluster
 * also how many clusters there can be; 0 if none. */
template <void STEP(State &, uint64_t)>
static double cycles(int blocks, int threads, int *clusters = nullptr)
{
    cudaLaunchAttribute kind = {};
    cudaLaunchConfig_t config = {dim3(blocks), dim3(threads), 0, 0, &kind, 1};
    std::vector<double> found;
    int shared = 0; /* bytes: two such blocks find no room */
    check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerMultiprocessor, 0));
    config.dynamicSmemBytes = shared /= 2;
    kind.id = clusters ? cudaLaunchAttributeClusterDimension : cudaLaunchAttributeCooperative;
    kind.val.cooperative = 1;
    if (clusters)
        kind.val.clusterDim = {(unsigned)blocks, 1, 1};
    check(cudaFuncSetAttribute(timed<STEP>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared));
    check(cudaFuncSetAttribute(timed<STEP>, cudaFuncAttributeNonPortableClusterSizeAllowed, 1));
    if (clusters && cudaOccupancyMaxActiveClusters(clusters, timed<STEP>, &config))
        *clusters = 0 * cudaGetLastError(); /* a size that is not there */
    for (int run = 0; run < RUNS && !(clusters && !*clusters); run++) {
        long long all = 0;
        clear<<<64, 512>>>();
        check(cudaLaunchKernelEx(&config, timed<STEP>));
        check(cudaMemcpyFromSymbol(&all, taken, sizeof all));
        found.push_back((double)all / STEPS);
    }
    std::sort(found.begin(), found.end());
    return found.empty() ? 0 : found[RUNS / 2];
}

int main()
{
    int most = 0, clusters = 0;
    std::setvbuf(stdout, nullptr, _IOLBF, 0); /* what there is stays if something hangs */
    check(cudaDeviceGetAttribute(&most, cudaDevAttrMultiProcessorCount, 0));
    for (int n = 2; n <= most; n *= 2) {
        std::printf("packet_trip_%d %.4g\n", n, cycles<packet_trip>(n, 32));
        std::printf("exchange_%d %.4g\n", n, cycles<exchange>(n, 256));
        std::printf("told_%d %.4g\n", n, cycles<told>(n, 256));
    }
    for (int n = 2; n <= 16; n *= 2) {
        std::printf("async_trip_%d %.4g\n", n, cycles<async_trip>(n, 256, &clusters));
        std::printf("cluster_barrier_%d %.4g\n", n, cycles<cluster_barrier>(n, 256, &clusters));
        std::printf("clusters_%d %d\n", n, clusters);
    }
    for (int n = 128; n <= 512; n += 128) {
        std::printf("barrier_%d %.4g\n", n, cycles<barrier>(1, n));
        std::printf("multiply_add_%d %.4g\n", n, 64 * n / cycles<multiply_add>(1, n));
    }
    std::printf("following %.4g\n", cycles<following>(1, 256) - cycles<barrier>(1, 256));
    std::printf("telling %.4g\n", cycles<tell>(1, 256) - cycles<barrier>(1, 256));
    const double once = cycles<fetch<1>>(most, 256), often = cycles<fetch<32>>(most, 256);
    std::printf("fetching %.4g\n", once);
    std::printf("fed %.4g\n", 31 * 256 * 16 / (often - once));
    std::printf("look %.4g\n", cycles<look_again>(1, 32));
    std::printf("shared_same %.4g\n", 32 * 16 / cycles<shared_read<0>>(1, 512));
    std::printf("shared_own %.4g\n", 32 * 16 * 512 / cycles<shared_read<1>>(1, 512));
    std::printf("tensor %.4g\n", cycles<tensor<1>>(1, 32));
    std::printf("tensor_rate %.4g\n", 4 * 16 * 2048 / cycles<tensor<4>>(1, 512));
}
