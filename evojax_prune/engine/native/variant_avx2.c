/* For x86-64 processors with AVX2. */
#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

#define LANES 8
#include "train.h"

const ep_variant ep_avx2 = {"AVX2", train, score, floats, pack, unpack, choose_rows};

#if defined(__clang__)
#pragma clang attribute pop
#endif

#endif
