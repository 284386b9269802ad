/* CUDA's 16-bit numbers, as far as networks use them: read as float, made from float. */
#pragma once

#include <cstdint>
#include <cstring>

struct __half {
    __extension__ typedef _Float16 Bits;
    Bits bits;
    __half() = default;
    __half(float value) : bits((Bits)value) {}
    operator float() const { return (float)bits; }
};

/* The upper half of a float, rounded to the nearest, of two the even one. */
struct __nv_bfloat16 {
    uint16_t bits;
    __nv_bfloat16() = default;
    __nv_bfloat16(float value)
    {
        uint32_t wide;

        memcpy(&wide, &value, sizeof wide);
        if (value == value)
            wide += 0x7fff + (wide >> 16 & 1);
        bits = (uint16_t)(wide >> 16);
    }
    operator float() const
    {
        const uint32_t wide = (uint32_t)bits << 16;
        float value;

        memcpy(&value, &wide, sizeof value);
        return value;
    }
};
