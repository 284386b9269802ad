/* A program of someone's own that embeds a network: it asks whether the network can run here. Knows
 * nothing but the header; the .cu file is compiled by nvcc, the rest by any compiler of C++. */
#include "net.h"

#include <cstdio>

int main()
{
    net_device device;
    const cudaError_t error = net_init(&device);

    if (error)
        std::printf("net: CUDA error %d, %s\n", (int)error, cudaGetErrorString(error));
    else
        std::printf("net: %zu bytes for a step\n", net_workspace(1, 1));
    return error ? 1 : 0;
}
